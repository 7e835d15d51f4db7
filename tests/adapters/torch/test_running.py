"""Steps inside steps, steps that raise, and learning rates that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.adapters.torch.training import batches, in_session, mlp, sgd, train, untroubled, watched

OBSERVERS = pytest.mark.parametrize("observer", ["watch", "session"])


class Failing(torch.optim.SGD):
    """An optimizer whose step raises."""

    def step(self, closure: Any = None) -> Any:
        raise RuntimeError("does not support dense gradients")


def test_an_optimizer_whose_step_raised_does_not_hide_the_next() -> None:
    model = mlp()

    def loop() -> None:
        optimizer: Any = Failing(model.parameters(), lr=0.05)
        for x, y in batches(8):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            try:
                optimizer.step()
            except RuntimeError:
                optimizer = sgd(model)
                optimizer.step()

    scope = in_session(loop)
    assert untroubled(scope).watched["steps"] == 8


def test_a_step_that_raises_inside_another_leaves_the_outer_one_the_only_one() -> None:
    model = mlp()
    first, second = Failing(model.parameters(), lr=0.1), sgd(model)

    class Outer(torch.optim.Optimizer):
        """Tries one optimizer, then another."""

        def __init__(self) -> None:
            super().__init__(list(model.parameters()), {})

        def step(self, closure: Any = None) -> None:
            try:
                first.step()
            except RuntimeError:
                second.step()

    outer = Outer()
    scope = in_session(lambda: train(model, outer, 5))
    untroubled(scope)
    assert [(h.facts["optimizer"], h.steps) for h in scope.histories] == [("Outer", 5)]


@OBSERVERS
def test_a_closure_that_raises_leaves_later_steps_observed(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for i in range(2):
            with pytest.raises(ZeroDivisionError):
                optimizer.step(lambda i=i: i / 0)
        train(model, optimizer, 5)

    scope = watched(model, optimizer, loop) if observer == "watch" else in_session(loop)
    untroubled(scope)
    assert scope.histories[0].steps == 5


@OBSERVERS
def test_groups_whose_learning_rate_is_none_have_none(observer: str) -> None:
    model = mlp()
    optimizer = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.05)

    class Relative(torch.optim.Optimizer):
        """Finds its learning rates itself, as Adafactor does."""

        def __init__(self) -> None:
            super().__init__([{"params": [p]} for p in model.parameters()], {"lr": None})

        def step(self, closure: Any = None) -> None:
            optimizer.step()

    relative = Relative()

    def loop() -> None:
        train(model, relative, 6)

    scope = watched(model, relative, loop) if observer == "watch" else in_session(loop)
    untroubled(scope)
    assert scope.histories[0].steps == 6
    assert np.isnan(scope.histories[0].run("learning_rate")).all()
