"""A plain training loop over a Workload. It observes nothing itself: a session around it does."""

from __future__ import annotations

from typing import Any

from gradscope.errors import CannotJudge, UsageError
from gradscope.scope import Scope
from gradscope.workload import Workload, endless
from mxnet import autograd, gluon

from gradscope_mxnet.recorder import is_anything_trained


def train(scope: Scope, workload: Workload) -> None:
    """Trains until the scope has seen enough steps. Raises CannotJudge without batches or parameters."""
    net, trainer = workload.model, None
    for inputs, target in endless(workload.batches, scope.settings.steps):
        with autograd.record():
            loss = workload.loss(net(inputs), target)
        if trainer is None:
            trainer = trainer_of(workload, net)
        loss.backward()
        trainer.step(loss.size)


def trainer_of(workload: Workload, net: Any) -> gluon.Trainer:
    """What the workload's optimizer builds from the net's parameters; Adam when it names none."""
    parameters = net.collect_params()
    if not is_anything_trained(parameters.values()):
        raise CannotJudge(f"workload(): {type(net).__name__} has no parameter to train")
    made = gluon.Trainer(parameters, "adam") if workload.optimizer is None else workload.optimizer(parameters)
    if not isinstance(made, gluon.Trainer):
        raise UsageError(f"workload(): optimizer must build a mxnet.gluon.Trainer, got {type(made).__name__}")
    return made
