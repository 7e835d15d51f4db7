"""A watched model can be scripted and traced by torch.jit, and is watched as before afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gradscope
import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.training import mlp, sgd, train


@pytest.fixture(autouse=True)
def deprecated() -> Iterator[None]:
    """torch tells of torch.jit that it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def given(model: nn.Module) -> Tensor:
    """What the model takes."""
    return torch.zeros(5, next(m for m in model.modules() if isinstance(m, nn.Linear)).in_features)


@pytest.mark.parametrize("steps", [0, 3, 30])
@pytest.mark.parametrize("policy", ["report", "ignore"])
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, given(m))], ids=["script", "trace"])
def test_a_watched_model_can_be_compiled_by_torch_jit(make: Any, policy: str, steps: int) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer, on_nonfinite=policy) as scope:
        train(model, optimizer, steps)
        hooks = [dict(m._forward_hooks) for m in model.modules()]
        made = make(model)
        assert torch.equal(made(given(model)), model(given(model)))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.modules())
        assert [dict(m._forward_hooks) for m in model.modules()] == hooks
        train(model, optimizer, 3)
    assert not scope.failures
    assert scope.histories[0].steps == steps + 3


def test_hooks_of_the_user_are_still_scripted() -> None:
    model = nn.Linear(3, 2)
    model.register_forward_hook(double)
    with gradscope.watch(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        made = torch.jit.script(model)
    assert len(made._forward_hooks) == 1
    assert torch.equal(made(torch.ones(1, 3)), model(torch.ones(1, 3)))


def double(self: Any, given: tuple[Tensor], output: Tensor) -> Tensor:
    """A hook that torch.jit can compile."""
    return output * 2


def test_torch_jit_is_put_back() -> None:
    before = torch.jit._recursive.create_script_module
    model = nn.Linear(3, 2)
    one, two = (gradscope.watch(model, torch.optim.SGD(model.parameters(), lr=0.1)) for _ in range(2))
    assert torch.jit._recursive.create_script_module is not before
    one.close()
    assert torch.jit._recursive.create_script_module is not before
    two.close()
    assert torch.jit._recursive.create_script_module is before
