"""Parameters that get their shape late, or come up in the middle of a step; and failures, which stay the observer's."""

from __future__ import annotations

from typing import Any

import gradscope
import pytest
import torch
from gradscope import Scope
from torch import nn

from tests.adapters.torch.training import batches, in_session, mlp, sgd, train, untroubled, watched


def names(scope: Scope, objective: int = -1) -> list[str]:
    """The parameters of an objective."""
    return [s.name for s in scope.histories[objective]["gradient"].subjects]


def lazy_model() -> nn.Sequential:
    """Two layers without shapes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))


def test_lazy_parameters_are_observed_once_they_have_shapes() -> None:
    model = lazy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scope = watched(model, optimizer, lambda: train(model, optimizer, 6))
    untroubled(scope)
    assert names(scope) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert (scope.histories[0]["gradient"].column("gradient_norm") >= 0).all()


def test_a_lazy_model_met_during_the_training_of_another_disturbs_neither() -> None:
    def loop() -> None:
        first = mlp()
        train(first, sgd(first), 5)
        second = lazy_model()
        second(next(batches(1))[0])
        train(second, sgd(second), 7)

    scope = in_session(loop)
    untroubled(scope)
    assert [h.steps for h in scope.histories] == [5, 7]


def test_a_lazy_module_that_never_ran_is_left_out() -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(list(model.parameters()), lr=0.05)
    model.spare = nn.LazyLinear(2)
    scope = watched(model, optimizer, lambda: train(model, optimizer, 6))
    untroubled(scope)
    assert names(scope) == ["weight", "bias"]


def test_parameters_that_a_closure_brings_up_are_added() -> None:
    class Model(nn.Module):
        """A body without gradients, which no optimizer holds, under a head."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> Any:
            with torch.no_grad():
                h = self.body(x)
            return self.head(h)

    torch.manual_seed(0)
    model = Model()
    x, y = next(batches(1))

    def loop() -> None:
        optimizer = torch.optim.LBFGS(model.head.parameters(), lr=0.5, max_iter=3)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss

        for _ in range(6):
            optimizer.step(closure)

    scope = in_session(loop)
    untroubled(scope)
    assert sorted(names(scope)) == ["body.bias", "body.weight", "head.bias", "head.weight"]
    assert (scope.histories[0]["parameter"].column("update_norm")[:, :2] >= 0).any()


# -- failures ----------------------------------------------------------------------------------------------------------


class Awkward(nn.Linear):
    """A module that does not let itself be looked through."""

    awkward = True

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        if self.awkward:
            raise RuntimeError("not today")
        return super().named_modules(*args, **kwargs)


def test_a_model_that_cannot_be_named_trains_under_a_session_as_ever() -> None:
    model = Awkward(4, 1)
    optimizer = torch.optim.SGD([model.weight, model.bias], lr=0.05)
    scope = in_session(lambda: train(model, optimizer, 6))
    assert scope.report().cannot == "the observation itself failed: torch module hooks: RuntimeError: not today"


@pytest.mark.parametrize("moment", ["report", "flush", "close"])
def test_a_report_that_cannot_be_completed_says_so(moment: str) -> None:
    model = Awkward(4, 1)
    model.awkward = False
    optimizer = sgd(model)
    scope = gradscope.watch(model, optimizer)
    train(model, optimizer, 6)
    model.awkward = True
    if moment == "flush":
        scope.log(loss=1.0)
    if moment == "close":
        scope.close()
    assert scope.report().cannot == "the observation itself failed: torch rows: RuntimeError: not today"
    scope.close()
    train(model, optimizer, 1)


def test_without_any_step_a_failure_is_still_the_reason() -> None:
    model = Awkward(4, 1)
    scope = in_session(lambda: model(next(batches(1))[0]))
    assert (scope.report().cannot or "").startswith("the observation itself failed")
