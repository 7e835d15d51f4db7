"""A plain training loop over a Workload. It observes nothing itself: a session around it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from gradscope.errors import CannotJudge, UsageError
from gradscope.scope import Scope
from gradscope.workload import Workload


def train(scope: Scope, workload: Workload) -> None:
    """Trains until the scope has seen enough steps. Raises CannotJudge without batches or parameters."""
    model = workload.model
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise CannotJudge(f"workload(): {type(model).__name__} has no parameter that requires a gradient")
    optimizer = (workload.optimizer or torch.optim.Adam)(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(f"workload(): optimizer must build a torch.optim.Optimizer, got {type(optimizer).__name__}")
    model.train()
    for inputs, target in endless(workload.batches, scope.settings.steps):
        optimizer.zero_grad()
        loss = workload.loss(model(inputs), target)
        loss.backward()
        optimizer.step()


def endless(batches: Any, steps: int) -> Iterator[tuple[Any, Any]]:
    """The batches, started anew when they end, `steps` at most. Raises CannotJudge when there is none, UsageError
    when one is no pair."""
    done = 0
    while done < steps:
        started = done
        source: Iterable[Any] = batches() if callable(batches) else batches
        for batch in source:
            if not isinstance(batch, list | tuple) or len(batch) != 2:
                raise UsageError(f"workload(): a batch must be a pair (input, target), got {type(batch).__name__}")
            yield batch[0], batch[1]
            done += 1
            if done == steps:
                return
        if done == started:
            raise CannotJudge("workload(): batches gave none (an iterator that is used up? give a list or a function)")
