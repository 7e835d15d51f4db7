"""After close() nothing of gradscope is left: no wrapper, no hook, no mode; however the loop ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gradscope
import pytest
import torch
from gradscope import Scope
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import clip_grad
from torch.optim import optimizer as torch_optimizer
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _len_torch_function_stack, _pop_mode

from gradscope_torch.session import Session
from tests.adapters.torch.training import batches, mlp, sgd, train

WRAPPED = (
    (torch.autograd, "backward"),
    (clip_grad, "_clip_grads_with_norm_"),
    (clip_grad, "clip_grad_value_"),
    (torch.nn.utils, "clip_grad_value_"),
    (torch.nn.utils, "clip_grad_norm_"),
    (torch.amp.GradScaler, "step"),
    (torch.amp.GradScaler, "scale"),
    (torch.amp.GradScaler, "update"),
)
GLOBAL_HOOKS = (
    (torch_module, "_global_forward_hooks"),
    (torch_module, "_global_forward_pre_hooks"),
    (torch_module, "_global_backward_hooks"),
    (torch_module, "_global_parameter_registration_hooks"),
    (torch_module, "_global_buffer_registration_hooks"),
    (torch_module, "_global_module_registration_hooks"),
    (torch_optimizer, "_global_optimizer_pre_hooks"),
    (torch_optimizer, "_global_optimizer_post_hooks"),
)
MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def traces(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that an observer might leave behind."""
    found: dict[str, Any] = {f"{owner.__name__}.{name}": getattr(owner, name) for owner, name in WRAPPED}
    found |= {name: dict(getattr(owner, name)) for owner, name in GLOBAL_HOOKS}
    for path, module in model.named_modules():
        found |= {f"{path}.{name}": dict(getattr(module, name)) for name in MODULE_HOOKS}
    for path, p in model.named_parameters():
        hooks = (p._backward_hooks, getattr(p, "_post_accumulate_grad_hooks", None))
        found[path] = [dict(h) if h else {} for h in hooks]
    found |= {name: dict(getattr(optimizer, name)) for name in OPTIMIZER_HOOKS}
    found["function modes"] = _len_torch_function_stack()
    return found


@contextlib.contextmanager
def watching(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Scope]:
    """watch() as a context."""
    with gradscope.watch(model, optimizer) as scope:
        yield scope


@contextlib.contextmanager
def watching_everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Scope]:
    """watch() without an optimizer."""
    with gradscope.watch(model) as scope:
        yield scope


@contextlib.contextmanager
def session(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Scope]:
    """The session of `gradscope check`."""
    scope = Scope()
    with Session(scope):
        yield scope


OBSERVERS = pytest.mark.parametrize("observe", [watching, watching_everything, session])
Observe = Callable[..., Any]


@OBSERVERS
@pytest.mark.parametrize("steps", [0, 1, 2, 4, 7])
def test_close_leaves_nothing_behind(observe: Observe, steps: int) -> None:
    model = mlp()
    optimizer = sgd(model)
    before = traces(model, optimizer)
    with observe(model, optimizer):
        train(model, optimizer, steps)
    assert traces(model, optimizer) == before


@OBSERVERS
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["forward", "after forward", "backward", "before step"])
def test_close_leaves_nothing_behind_after_an_exception(
    observe: Observe, place: str, error: type[BaseException]
) -> None:
    def fail(*_: Any) -> None:
        raise error("in the loop")

    model = mlp()
    optimizer = sgd(model)
    x, y = next(batches(1))
    if place == "forward":
        model[2].register_forward_pre_hook(fail)
    before = traces(model, optimizer)
    with pytest.raises(error, match="in the loop"), observe(model, optimizer):
        out = model(x)
        if place == "after forward":
            fail()
        if place == "backward":
            out.register_hook(fail)
        nn.functional.mse_loss(out, y).backward()
        fail()
    assert traces(model, optimizer) == before


def test_the_wrappers_are_in_place_while_watching() -> None:
    original = torch.autograd.backward
    with gradscope.watch(mlp()):
        assert torch.autograd.backward is not original
    assert torch.autograd.backward is original


def test_the_last_of_several_observers_puts_the_originals_back() -> None:
    original = torch.autograd.backward
    first, second = gradscope.watch(mlp()), gradscope.watch(mlp())
    first.close()
    assert torch.autograd.backward is not original
    second.close()
    assert torch.autograd.backward is original


def test_close_can_be_called_twice() -> None:
    scope = gradscope.watch(mlp())
    scope.close()
    scope.close()
    assert scope.watched is None


def test_what_somebody_else_wrapped_meanwhile_stays_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.autograd.backward
    scope = gradscope.watch(mlp())
    ours = torch.autograd.backward

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    torch.autograd.backward = theirs
    try:
        scope.close()
        assert torch.autograd.backward is theirs
        w = torch.ones(1, requires_grad=True)
        (2 * w).sum().backward()
        assert w.grad.item() == 2
        torch.autograd.backward = ours
        gradscope.watch(mlp()).close()
        assert torch.autograd.backward is original
    finally:
        torch.autograd.backward = original


def test_the_users_own_hooks_survive_close() -> None:
    model = mlp()
    optimizer = sgd(model)
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("forward"))
    optimizer.register_step_post_hook(lambda *_: calls.append("step"))
    with gradscope.watch(model, optimizer):
        train(model, optimizer, 2)
    train(model, optimizer, 1)
    assert calls == ["forward", "step"] * 3


@OBSERVERS
def test_closing_inside_a_mode_of_the_user_leaves_that_mode_alone(observe: Observe) -> None:
    model = mlp()
    optimizer = sgd(model)
    mode = TorchFunctionMode()
    with contextlib.ExitStack() as stack:
        stack.enter_context(observe(model, optimizer))
        model(next(batches(1))[0])
        with mode:
            stack.close()
            assert _get_current_function_mode() is mode
    left = [_pop_mode() for _ in range(_len_torch_function_stack())]
    assert left == []


def test_the_scope_is_a_context_manager_whose_report_still_works_afterwards() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 10)
    assert scope.report().watched["steps"] == 10


def test_the_report_can_be_asked_for_while_the_loop_runs() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 6)
        assert scope.report().watched["steps"] == 6
        train(model, optimizer, 6)
        assert scope.report().watched["steps"] == 12


def test_nothing_is_recorded_after_close() -> None:
    model = mlp()
    optimizer = sgd(model)
    scope = gradscope.watch(model, optimizer)
    train(model, optimizer, 5)
    scope.close()
    train(model, optimizer, 5)
    assert scope.histories[0].steps == 5


def test_a_model_can_be_watched_again_after_close() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer):
        train(model, optimizer, 5)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 7)
    assert scope.histories[0].steps == 7
