"""The function mode beside those of torch and of the user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from gradscope import Scope
from torch.overrides import BaseTorchFunctionMode, _len_torch_function_stack

from tests.adapters.torch.training import in_session, mlp, sgd, train, untroubled, watched


@pytest.fixture
def default_device() -> Iterator[None]:
    """torch.set_default_device(), and back."""
    torch.set_default_device("cpu")
    yield
    torch.set_default_device(None)
    assert _len_torch_function_stack() == 0


def sees_the_loss(scope: Scope) -> bool:
    """Whether the call of the loss function was seen."""
    return any(len(h["loss"].subjects) for h in scope.histories)


@pytest.mark.usefixtures("default_device")
@pytest.mark.parametrize("observer", ["watch", "session"])
def test_a_default_device_hides_nothing(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        train(model, optimizer, 6)

    scope = watched(model, optimizer, loop) if observer == "watch" else in_session(loop)
    assert untroubled(scope).watched["limits"] == {}
    assert sees_the_loss(scope)


@pytest.mark.parametrize("observer", ["watch", "session"])
def test_a_default_device_that_is_set_in_the_middle_stays_set(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        train(model, optimizer, 2)
        torch.set_default_device("cpu")
        train(model, optimizer, 4)

    try:
        scope = watched(model, optimizer, loop) if observer == "watch" else in_session(loop)
        untroubled(scope)
        assert sees_the_loss(scope)
        assert _len_torch_function_stack() == 1
    finally:
        torch.set_default_device(None)
    assert _len_torch_function_stack() == 0


def test_a_device_as_a_context_takes_no_mode_but_its_own_away() -> None:
    model = mlp()
    optimizer = sgd(model)
    scope = watched(model, optimizer, lambda: in_context(torch.device("cpu"), model, optimizer))
    assert "another torch function mode is on" in untroubled(scope).watched["limits"]["activations"]
    assert _len_torch_function_stack() == 0


def test_a_mode_of_the_user_still_bars_ours() -> None:
    model = mlp()
    optimizer = sgd(model)
    scope = watched(model, optimizer, lambda: in_context(BaseTorchFunctionMode(), model, optimizer))
    assert "another torch function mode is on" in untroubled(scope).watched["limits"]["activations"]


def in_context(context: object, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The plainest of loops inside a context."""
    with context:  # type: ignore[attr-defined]
        train(model, optimizer, 6)
