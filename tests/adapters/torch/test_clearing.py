"""Where zero_grad stands in the loop, as the columns carried_over and cleared_early tell it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gradscope import Scope
from torch import nn

from tests.adapters.torch.training import batches, in_session, mlp, names_of, sgd, untroubled, watched

STEPS = 12
Clear = Callable[[int], None]


def loop_with(place: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """A loop whose zero_grad stands somewhere."""
    for i, (x, y) in enumerate(batches(STEPS)):
        if place in {"first", "kept as zeros"}:
            optimizer.zero_grad(set_to_none=place == "first")
        if place == "of the model":
            model.zero_grad()
        if place == "once per epoch" and i % 4 == 0:
            optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        if place == "just before backward":
            optimizer.zero_grad()
        loss.backward()
        if place in {"between backward and step", "zeros between backward and step"}:
            optimizer.zero_grad(set_to_none=place == "between backward and step")
        optimizer.step()
        if place == "last":
            optimizer.zero_grad()
        if place == "last, as zeros":
            optimizer.zero_grad(set_to_none=False)
        if place == "by hand":
            for p in model.parameters():
                p.grad = None
        if place == "by hand, as zeros":
            for p in model.parameters():
                p.grad.data.zero_()


def observed(place: str, observer: str) -> Scope:
    """The scope of such a loop."""
    model = mlp()
    optimizer = sgd(model)
    if observer == "watch":
        return watched(model, optimizer, lambda: loop_with(place, model, optimizer))
    return in_session(lambda: loop_with(place, model, optimizer))


OBSERVERS = pytest.mark.parametrize("observer", ["watch", "session"])
RIGHT = (
    "first",
    "kept as zeros",
    "of the model",
    "just before backward",
    "last",
    "last, as zeros",
    "by hand",
    "by hand, as zeros",
)


@OBSERVERS
@pytest.mark.parametrize("place", RIGHT)
def test_a_cleared_gradient_is_not_carried_over(place: str, observer: str) -> None:
    history = observed(place, observer).histories[0]
    assert list(history.run("carried_over")[1:]) == [0] * (STEPS - 1)
    assert list(history.run("cleared_early")[1:]) == [0] * (STEPS - 1)


@OBSERVERS
@pytest.mark.parametrize("place", RIGHT)
def test_no_right_place_gives_a_verdict_on_stale_gradients(place: str, observer: str) -> None:
    assert not names_of(untroubled(observed(place, observer))) & {"stale-gradient", "missing-gradient", "zero-gradient"}


@OBSERVERS
def test_without_zero_grad_every_step_after_the_first_is_carried_over(observer: str) -> None:
    history = observed("nowhere", observer).histories[0]
    assert list(history.run("carried_over")[1:]) == [1] * (STEPS - 1)


@OBSERVERS
def test_the_first_step_has_nothing_to_carry_over(observer: str) -> None:
    assert np.isnan(observed("nowhere", observer).histories[0].run("carried_over")[0])


@OBSERVERS
def test_cleared_once_per_epoch_is_carried_over_in_between(observer: str) -> None:
    history = observed("once per epoch", observer).histories[0]
    assert list(history.run("carried_over")[1:]) == [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1]


@OBSERVERS
def test_cleared_between_backward_and_step_is_cleared_early(observer: str) -> None:
    history = observed("between backward and step", observer).histories[0]
    assert list(history.run("cleared_early")[1:]) == [1] * (STEPS - 1)


@OBSERVERS
def test_zeros_between_backward_and_step_are_cleared_early_from_the_second_time_on(observer: str) -> None:
    history = observed("zeros between backward and step", observer).histories[0]
    assert list(history.run("cleared_early")[1:]) == [1] * (STEPS - 1)


def test_gradients_that_backward_made_zero_are_not_cleared_early() -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, _ in batches(STEPS):
            optimizer.zero_grad()
            (0 * model(x)).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    assert list(watched(model, optimizer, loop).histories[0].run("cleared_early")[1:]) == [0] * (STEPS - 1)


@OBSERVERS
def test_a_second_step_without_a_pass_of_its_own_is_not_carried_over(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(STEPS):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            optimizer.step()

    scope = watched(model, optimizer, loop) if observer == "watch" else in_session(loop)
    carried = scope.histories[0].run("carried_over")
    assert np.isnan(carried[1::2]).all()
    assert list(carried[2::2]) == [0] * (STEPS - 1)
    assert "stale-gradient" not in names_of(untroubled(scope))


@OBSERVERS
@pytest.mark.parametrize("place", ["between backward and step", "zeros between backward and step"])
def test_clearing_before_the_step_is_a_verdict(place: str, observer: str) -> None:
    assert names_of(untroubled(observed(place, observer))) & {
        "missing-gradient",
        "zero-gradient",
        "unchanged-parameter",
    }


@OBSERVERS
@pytest.mark.parametrize("place", ["nowhere", "once per epoch"])
def test_what_is_carried_over_is_a_verdict(place: str, observer: str) -> None:
    assert "stale-gradient" in names_of(untroubled(observed(place, observer)))


@OBSERVERS
def test_accumulation_over_micro_batches_is_not_carried_over(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for i, (x, y) in enumerate(batches(4 * STEPS)):
            (nn.functional.mse_loss(model(x), y) / 4).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()

    scope = watched(model, optimizer, loop) if observer == "watch" else in_session(loop)
    history = scope.histories[0]
    assert list(history.run("backward_passes")) == [4] * STEPS
    assert list(history.run("carried_over")[1:]) == [0] * (STEPS - 1)
    assert "stale-gradient" not in names_of(untroubled(scope))


def test_the_loss_of_an_accumulated_step_is_the_mean_of_its_passes() -> None:
    model = mlp()
    optimizer = sgd(model, lr=0.0)
    losses: list[float] = []

    def loop() -> None:
        for x, y in batches(3):
            loss = nn.functional.mse_loss(model(x), y)
            losses.append(loss.item())
            loss.backward()
        optimizer.step()

    history = watched(model, optimizer, loop).histories[0]
    assert history.run("loss")[0] == pytest.approx(sum(losses) / 3, rel=1e-6)
