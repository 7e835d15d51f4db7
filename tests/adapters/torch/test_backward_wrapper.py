"""What backward() is given reaches autograd as it was, and every loss in it is noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradscope
import pytest
import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.checkpoint import checkpoint

from tests.adapters.torch.training import batches, mlp, sgd, untroubled

Give = Callable[[list[torch.Tensor]], Any]
WAYS: dict[str, Give] = {
    "a list": lambda losses: losses,
    "a tuple": tuple,
    "a generator": lambda losses: (loss for loss in losses),
    "a map": lambda losses: map(torch.clone, losses),
}


def two_losses(model: nn.Module) -> list[torch.Tensor]:
    """Two losses of one output."""
    x, _ = next(batches(1))
    out = model(x)
    return [out[:, 0].square().mean(), out[:, 1].square().mean()]


@pytest.mark.parametrize("way", WAYS)
def test_backward_through_several_losses_gives_the_gradients_of_an_unwatched_run(way: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    torch.autograd.backward(two_losses(model))
    expected = model.weight.grad.clone()
    model.zero_grad()
    with gradscope.watch(model):
        torch.autograd.backward(WAYS[way](two_losses(model)))
    assert torch.equal(model.weight.grad, expected)


@pytest.mark.parametrize("way", WAYS)
def test_the_losses_of_one_pass_are_all_recorded(way: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = sgd(model, lr=0.0)
    with gradscope.watch(model, optimizer) as scope:
        losses = two_losses(model)
        torch.autograd.backward(WAYS[way](losses))
        optimizer.step()
    untroubled(scope)
    assert scope.histories[0].run("loss")[0] == pytest.approx(sum(loss.item() for loss in losses) / 2, rel=1e-6)
    assert scope.histories[0].run("backward_passes")[0] == 1


def test_a_reentrant_checkpoint_is_part_of_the_pass_it_is_in() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        for x, y in batches(3):
            optimizer.zero_grad()
            h = checkpoint(model[0], x.requires_grad_(), use_reentrant=True)
            nn.functional.mse_loss(model[1](h), y).backward()
            optimizer.step()
    untroubled(scope)
    assert list(scope.histories[0].run("backward_passes")) == [1, 1, 1]
    assert (scope.histories[0]["gradient"].column("gradient_norm") > 0).all()


def test_a_gradient_edge_is_passed_through_and_is_no_loss() -> None:
    model = nn.Linear(4, 1)
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        edge = get_gradient_edge(model(next(batches(1))[0]).mean())
        torch.autograd.backward(edge, torch.ones(()))
        optimizer.step()
    untroubled(scope)
    assert model.weight.grad is not None
    assert scope.histories[0].run("backward_passes")[0] == 1


def test_what_backward_refuses_it_refuses_under_watch_too() -> None:
    with gradscope.watch(mlp()), pytest.raises(TypeError):
        torch.autograd.backward(None)


# -- passes that a loop gives up ---------------------------------------------------------------------------------------


def guarded_loop(model: nn.Module, optimizer: Any, *, none: bool, place: str, spoilt: float) -> list[float]:
    """A loop that skips the step when the gradient is bad; the losses of the steps it took."""
    taken = []
    for i, (x, y) in enumerate(batches(12)):
        if place == "first":
            optimizer.zero_grad(set_to_none=none)
        loss = nn.functional.mse_loss(model(x * (spoilt if i % 4 == 2 else 1)), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1e3)
        if not norm < 1e3:
            if place == "on giving up":
                optimizer.zero_grad(set_to_none=none)
            continue
        optimizer.step()
        if place == "on giving up":
            optimizer.zero_grad(set_to_none=none)
        taken.append(loss.item())
    return taken


@pytest.mark.parametrize("spoilt", [1e4, float("nan")])
@pytest.mark.parametrize("place", ["first", "on giving up"])
@pytest.mark.parametrize("none", [True, False])
def test_the_loss_of_a_pass_whose_gradients_were_thrown_away_is_not_counted(
    none: bool, place: str, spoilt: float
) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        taken = guarded_loop(model, optimizer, none=none, place=place, spoilt=spoilt)
    untroubled(scope)
    history = scope.histories[0]
    assert list(history.run("loss")) == pytest.approx(taken, rel=1e-6)
    assert list(history.run("backward_passes")) == [1] * len(taken)
    assert (history.run("clip_before") < 1e3).all()


def test_of_two_optimizers_one_that_clears_between_the_passes_of_both_gives_nothing_up() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 1), nn.Linear(4, 1)
    ours, theirs = sgd(first), sgd(second)
    with gradscope.watch([first, second], [ours, theirs]) as scope:
        for x, y in batches(6):
            ours.zero_grad()
            nn.functional.mse_loss(first(x), y).backward()
            theirs.zero_grad()
            nn.functional.mse_loss(second(x), y).backward()
            ours.step()
            theirs.step()
    untroubled(scope)
    assert [list(h.run("backward_passes")) for h in scope.histories] == [[2] * 6] * 2
