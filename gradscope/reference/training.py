"""Workloads of the reference: trained, made afresh, scored."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.errors import CannotJudge, UsageError
from gradscope.guard import guarded
from gradscope.reference.gradients import average, decayed, prepared
from gradscope.reference.layers import Array
from gradscope.reference.losses import LOSSES, Loss
from gradscope.reference.model import Model
from gradscope.reference.observation import Batch, Observation, Taken
from gradscope.reference.optimizers import Adam, Optimizer
from gradscope.statistics import l2_norm
from gradscope.workload import Score, Workload, groups, held_out, score

if TYPE_CHECKING:
    from gradscope.scope import Scope


def train(scope: Scope, workload: Workload) -> None:
    """Trains, and tells the scope of every step, until it has seen enough. Raises CannotJudge without batches or
    weights, UsageError for parts that do not fit."""
    model = model_of(workload)
    optimizer = optimizer_of(workload, model)
    kind = type(optimizer).__name__
    history = scope.new_history(f"{kind} 1", framework="numpy", optimizer=kind, settings={"lr": optimizer.rate})
    observation = Observation(history, model, loss_of(workload))
    note = guarded("numpy steps", scope.failures, observation.note)
    for step in steps(workload, scope.settings.steps, optimizer):
        note(step)
        scope.stepped(step.number + 1)


def steps(workload: Workload, count: int, optimizer: Optimizer | None = None) -> Iterator[Taken]:
    """The steps of a training as they are taken; the model of the workload changes with them."""
    model, loss, recipe = model_of(workload), loss_of(workload), workload.recipe
    if not model.weights:
        raise CannotJudge("workload(): the network has no weight to train")
    solver = optimizer_of(workload, model) if optimizer is None else optimizer
    usual = solver.rate
    try:
        for number, group in enumerate(groups(workload, count)):
            solver.rate = usual * recipe.factor(number)
            before = model.weights
            with np.errstate(all="ignore"):
                found = [one_pass(model, loss, given, target) for given, target in group]
                raw, used = prepared(recipe, before, average([g for _, g in found]))
                model.weights = solver.step(decayed(recipe, solver.rate, before), used)
                limit = recipe.clip_norm
                clipped = None if limit is None else (float(np.hypot.reduce([l2_norm(g) for g in raw.values()])), limit)
            yield Taken(number, solver.rate, [b for b, _ in found], used, before, model.weights, clipped)
    finally:
        solver.rate = usual


def one_pass(model: Model, loss: Loss, given: Array, target: Array) -> tuple[Batch, dict[str, Array]]:
    """What a batch showed, and its gradients."""
    seen: list[Array] = []
    cast, wanted = model.cast(given), np.asarray(target)
    at = model.at(training=True)
    value, gradients = model.network.gradients(model.weights, loss, cast, wanted, at, seen)
    return Batch(cast, seen, wanted, float(value)), gradients


def fresh(workload: Workload, seed: int) -> Workload:
    """Seeds Python and numpy, and gives the workload a model of its own: built anew, or copied; and an optimizer."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    given = workload.model
    made = given.copy(seed) if isinstance(given, Model) else given()
    if isinstance(made, Model):
        made.random = np.random.default_rng(seed)
    return replace(workload, model=made)


def evaluate(workload: Workload) -> Score:
    """The loss, and the metric, of what was held out, in evaluation mode; of the batches where nothing was."""
    model, loss = model_of(workload), loss_of(workload)

    def parts() -> Iterator[tuple[int, float, float | None]]:
        for given, target in held_out(workload):
            output, wanted = model(given), np.asarray(target)
            metric = None if workload.metric is None else float(np.mean(workload.metric(output, wanted)))
            yield len(output), float(loss(output, wanted)[0]), metric

    with np.errstate(all="ignore"):
        return score(parts())


def model_of(workload: Workload) -> Model:
    """The model itself. Raises UsageError for what is none."""
    if not isinstance(workload.model, Model):
        raise UsageError(f"workload(): model must be a gradscope.reference Model, got {type(workload.model).__name__}")
    return workload.model


def loss_of(workload: Workload) -> Loss:
    """The loss, by its name in LOSSES or itself. Raises UsageError for an unknown name."""
    given: Any = workload.loss
    if isinstance(given, str):
        if given not in LOSSES:
            raise UsageError(f"workload(): unknown loss {given!r}; known: {', '.join(LOSSES)}")
        return LOSSES[given]
    loss: Callable[..., Any] = given
    return loss


def optimizer_of(workload: Workload, model: Model) -> Optimizer:
    """What the workload's optimizer builds from the weights, or a copy of what it is; Adam when it names none. Raises
    UsageError."""
    given: Any = workload.optimizer
    if given is None:
        made: Any = Adam()
    elif hasattr(given, "step") and not isinstance(given, type):
        made = copy.deepcopy(given)
    else:
        made = given(model.weights)
    if not hasattr(made, "step") or not hasattr(made, "rate"):
        raise UsageError(f"workload(): optimizer must build one of gradscope.reference, got {type(made).__name__}")
    optimizer: Optimizer = made
    return optimizer
