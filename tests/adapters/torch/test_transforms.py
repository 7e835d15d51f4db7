"""torch.func, the user's own function modes and devices: they work under an observer, and are left as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gradscope import Scope
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _len_torch_function_stack

from tests.adapters.torch.training import batches, in_session, mlp, same, sgd, train, untroubled, watched, weights_of

OBSERVERS = pytest.mark.parametrize("observer", ["watch", "session"])


def observed(observer: str, model: Any, optimizer: Any, loop: Any) -> Scope:
    """The closed scope of a loop under one of both observers."""
    return watched(model, optimizer, loop) if observer == "watch" else in_session(loop)


class Counting(TorchFunctionMode):
    """Counts calls of torch functions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def functional_loss(model: nn.Module, parameters: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss with other parameters in place of the model's own."""
    return nn.functional.mse_loss(functional_call(model, parameters, (x,)), y)


@OBSERVERS
def test_gradients_of_torch_func_are_measured_at_the_step(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    expected = []

    def loop() -> None:
        for x, y in batches(6):
            named = {k: v.detach() for k, v in model.named_parameters()}
            gradients = grad(lambda p, x=x, y=y: functional_loss(model, p, x, y))(named)
            for name, p in model.named_parameters():
                p.grad = gradients[name]
            expected.append(gradients["0.weight"].norm().item())
            optimizer.step()

    scope = observed(observer, model, optimizer, loop)
    untroubled(scope)
    assert list(scope.histories[0]["gradient"].series("gradient_norm", "0.weight")) == pytest.approx(expected, rel=1e-5)


@OBSERVERS
def test_gradients_per_sample_of_vmap_are_no_failure(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            named = {k: v.detach() for k, v in model.named_parameters()}
            each = grad(lambda p, x, y: functional_loss(model, p, x[None], y[None]))
            gradients = vmap(each, in_dims=(None, 0, 0))(named, x, y)
            for name, p in model.named_parameters():
                p.grad = gradients[name].mean(0)
            optimizer.step()

    assert untroubled(observed(observer, model, optimizer, loop)).watched["steps"] == 6


@OBSERVERS
def test_an_inner_step_through_a_transform_beside_an_outer_backward_is_no_failure(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            named = dict(model.named_parameters())
            inner = grad(lambda p, x=x, y=y: functional_loss(model, p, x, y))(named)
            adapted = {k: v - 0.01 * inner[k] for k, v in named.items()}
            optimizer.zero_grad()
            functional_loss(model, adapted, x, y).backward()
            optimizer.step()

    assert untroubled(observed(observer, model, optimizer, loop)).watched["steps"] == 6


@OBSERVERS
def test_jacobians_and_second_derivatives_are_no_failure(observer: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = sgd(model)

    def loop() -> None:
        for x, _ in batches(6):
            x.requires_grad_()
            optimizer.zero_grad()
            (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
            (slope - 1).square().mean().backward()
            torch.func.jacrev(model)(x[:2].detach())
            optimizer.step()

    assert untroubled(observed(observer, model, optimizer, loop)).watched["steps"] == 6


@OBSERVERS
@pytest.mark.parametrize("around", ["loop", "step", "forward", "loss and step"])
def test_a_mode_of_the_user_hears_what_it_would_hear_and_is_left_in_place(observer: str, around: str) -> None:
    def run(observe: bool) -> tuple[int, list[torch.Tensor]]:
        model = mlp()
        optimizer = sgd(model)
        mode = Counting()

        def step(x: torch.Tensor, y: torch.Tensor) -> None:
            optimizer.zero_grad()
            if around == "forward":
                with mode:
                    out = model(x)
                    assert _get_current_function_mode() is mode
            else:
                out = model(x)
            if around == "loss and step":
                with mode:
                    nn.functional.mse_loss(out, y).backward()
                    assert _get_current_function_mode() is mode
            else:
                nn.functional.mse_loss(out, y).backward()
            optimizer.step()

        def loop() -> None:
            if around == "loop":
                with mode:
                    for x, y in batches(6):
                        step(x, y)
                return
            for x, y in batches(6):
                if around == "step":
                    with mode:
                        step(x, y)
                else:
                    step(x, y)

        if observe:
            untroubled(observed(observer, model, optimizer, loop))
        else:
            loop()
        return mode.calls, weights_of(model)

    (bare_calls, bare), (seen_calls, seen) = run(False), run(True)
    assert same(bare, seen)
    assert seen_calls >= bare_calls > 0
    assert _len_torch_function_stack() == 0


@OBSERVERS
def test_a_device_as_a_context_inside_the_loop_stays_intact(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            out = model(x)
            with torch.device("meta"):
                assert torch.zeros(1).device.type == "meta"
            with torch.device("cpu"):
                optimizer.zero_grad()
                nn.functional.mse_loss(out, y).backward()
                optimizer.step()
                assert torch.zeros(1).device.type == "cpu"

    assert untroubled(observed(observer, model, optimizer, loop)).watched["steps"] == 6
    assert _len_torch_function_stack() == 0


@OBSERVERS
def test_a_device_as_a_context_around_everything_stays_intact(observer: str) -> None:
    with torch.device("cpu"):
        model = mlp()
        optimizer = sgd(model)
        untroubled(observed(observer, model, optimizer, lambda: train(model, optimizer, 6)))
        assert _len_torch_function_stack() == 1
    assert _len_torch_function_stack() == 0


@OBSERVERS
def test_a_default_device_set_in_the_loop_stays_set(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        train(model, optimizer, 2)
        torch.set_default_device("meta")
        found = torch.zeros(1).device.type
        torch.set_default_device(None)
        train(model, optimizer, 2)
        assert found == "meta"

    try:
        untroubled(observed(observer, model, optimizer, loop))
    finally:
        torch.set_default_device(None)
    assert _len_torch_function_stack() == 0
