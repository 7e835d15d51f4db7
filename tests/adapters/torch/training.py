"""Small models, their data, and plain loops that the tests of this folder train: watched, under a session, or bare."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import gradscope
import pytest
import torch
from gradscope import Report, Scope
from torch import nn

from gradscope_torch.session import Session

Loop = Callable[[], Any]
OBSERVERS = pytest.mark.parametrize("observer", ["watch", "session"])


def mlp(*, dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    """A regression network of 4 inputs and 1 output."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))


def batches(steps: int, *, size: int = 32, features: int = 4) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and a linear target, from a generator of their own."""
    generator = torch.Generator().manual_seed(7)
    weights = torch.randn(features, 1, generator=generator)
    for _ in range(steps):
        x = torch.randn(size, features, generator=generator)
        yield x, x @ weights


def train(model: Any, optimizer: torch.optim.Optimizer, steps: int = 10) -> None:
    """The plainest of loops."""
    for x, y in batches(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def sgd(model: nn.Module, lr: float = 0.05) -> torch.optim.SGD:
    """SGD over all parameters of a model."""
    return torch.optim.SGD(model.parameters(), lr=lr)


def watched(model: nn.Module, optimizer: Any, loop: Loop) -> Scope:
    """The closed scope of a loop that ran under watch."""
    with gradscope.watch(model, optimizer) as scope:
        loop()
    return scope


def in_session(loop: Loop) -> Scope:
    """The closed scope of a loop that ran under the session of `gradscope check`."""
    scope = Scope()
    with Session(scope):
        loop()
    return scope


def untroubled(scope: Scope) -> Report:
    """The report, after a look that no part of the observer failed."""
    report = scope.report()
    assert not report.failures, report.failures
    return report


def names_of(report: Report) -> set[str]:
    """The names of the verdicts."""
    return {v.name for v in report.verdicts}


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    """A copy of all parameters and buffers."""
    return [copy.deepcopy(t.detach()) for t in model.state_dict().values()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    """Whether two lists of tensors are equal bit for bit."""
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def observed(observer: str, model: Any, optimizer: Any, loop: Loop) -> Scope:
    """The closed scope of a loop under one of both observers."""
    return watched(model, optimizer, loop) if observer == "watch" else in_session(loop)


def subjects(scope: Scope, table: str = "gradient", objective: int = 0) -> list[str]:
    """The names in a table."""
    return [s.name for s in scope.histories[objective][table].subjects]
