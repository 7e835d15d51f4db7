"""A plain training loop over a Workload. It observes nothing itself: a session around it does."""

from __future__ import annotations

import torch
from gradscope.errors import CannotJudge, UsageError
from gradscope.scope import Scope
from gradscope.workload import Workload, endless


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
