"""The few functions of torch that must be observed by wrapping, because they offer no hook: backward (to learn the
loss), the inner step of gradient clipping (to learn the norm before it) and the gradient scaler (to see skipped steps).

Each wrapper calls the original with the same arguments and tells those who listen; with no listener left the originals
are put back, unless somebody else has wrapped them since, in which case ours stays and only passes calls through.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from gradscope.patches import Patches
from torch.autograd.graph import GradientEdge
from torch.compiler import is_dynamo_compiling
from torch.nn.utils import clip_grad
from torch.overrides import is_tensor_like

from gradscope_torch.hook import hidden, left_alone


class Listener(Protocol):
    """Who wants to know."""

    def backward_begins(self, tensors: Any, options: dict[str, Any]) -> None:
        """backward() was called on one tensor, or a tuple of them; options: its other arguments, by name."""

    def backward_ended(self) -> None:
        """backward() returned."""

    def clipped(self, parameters: Any, norm: Any, limit: Any) -> None:
        """The gradients of parameters, of total norm `norm`, were limited to the norm `limit`."""

    def scaled(self, outputs: Any, scale: Any) -> None:
        """A scaler multiplied a loss, or a list of them."""

    def unscaled(self, optimizer: Any) -> None:
        """A scaler divided the gradients of an optimizer by its scale."""

    def scaler_begins(self, scaler: Any, optimizer: Any) -> None:
        """A scaler's step() was called."""

    def scaler_ended(self, scaler: Any, optimizer: Any) -> None:
        """A scaler's step() returned."""


class Outer(threading.local):
    """Whether a backward pass is running. One inside it is a part of it: backward calls itself where a function mode
    is on, and checkpointing calls it for each of its blocks."""

    running = False


LISTENERS: list[Listener] = []
OPTIONS = ("grad_tensors", "retain_graph", "create_graph", "grad_variables", "inputs")
"""What torch.autograd.backward takes beside its tensors, in order."""
_outer = Outer()
_patches = Patches()


def listen(listener: Listener) -> None:
    """Adds a listener; the first one installs the wrappers."""
    if not LISTENERS:
        _install()
    LISTENERS.append(listener)


def unlisten(listener: Listener) -> None:
    """Removes a listener; with the last one the originals come back."""
    if listener in LISTENERS:
        LISTENERS.remove(listener)
    if not LISTENERS:
        _patches.close()


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Inside, no listener is told of a backward pass."""
    before, _outer.running = _outer.running, True
    try:
        yield
    finally:
        _outer.running = before


def _install() -> None:
    wrappers = (
        (torch.autograd, "backward", _backward),
        (clip_grad, "_clip_grads_with_norm_", _clip),
        (clip_grad, "clip_grad_value_", _clip_value),
        (torch.nn.utils, "clip_grad_value_", _clip_value),
        (torch.amp.GradScaler, "step", _scaler_step),
        (torch.amp.GradScaler, "scale", _scaler_scale),
        (torch.amp.GradScaler, "unscale_", _scaler_unscale),
    )
    for owner, name, make in wrappers:
        _patches.wrap(owner, name, make)
        left_alone(make(None))  # the code of a wrapper is that of all its kind
    for function in (tell, total_norm, parameters_of):
        left_alone(function)


def tell(event: str, *given: Any) -> None:
    """Tells every listener, with dynamo off."""
    _aside(_tell)(event, given)


def _tell(event: str, given: tuple[Any, ...]) -> None:
    for listener in LISTENERS:
        getattr(listener, event)(*given)


def total_norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    """L2 norm of all gradients together."""
    norm: torch.Tensor = _aside(torch.nn.utils.get_total_norm)(gradients)
    return norm


_aside = functools.lru_cache(maxsize=4)(hidden)


def _backward(original: Any) -> Any:
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if _outer.running or is_dynamo_compiling():
            return original(tensors, *args, **kwargs)
        if not (is_tensor_like(tensors) or isinstance(tensors, GradientEdge)):
            tensors = tuple(tensors)  # what can be gone through once only is gone through here, for all
        options = dict(zip(OPTIONS, args, strict=False)) | kwargs
        tell("backward_begins", tensors, options)
        _outer.running = True
        try:
            result = original(tensors, *args, **kwargs)
        finally:
            _outer.running = False
        tell("backward_ended")
        return result

    return backward


def _clip(original: Any) -> Any:
    def clip(parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return original(parameters, max_norm, total_norm, *args, **kwargs)
        held = parameters_of(parameters)
        tell("clipped", held, total_norm, max_norm)
        return original(held, max_norm, total_norm, *args, **kwargs)

    return clip


def _clip_value(original: Any) -> Any:
    def clip_grad_value_(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return original(parameters, *args, **kwargs)
        held = parameters_of(parameters)
        gradients = [p.grad for p in held if p.grad is not None]
        before = total_norm(gradients) if gradients else None
        result = original(held, *args, **kwargs)
        if before is not None:
            tell("clipped", held, before, total_norm(gradients))
        return result

    return clip_grad_value_


def parameters_of(given: Any) -> list[Any]:
    """What clipping takes, one parameter or an iterable of them, as a list."""
    return [given] if isinstance(given, torch.Tensor) else list(given)


def _scaler_step(original: Any) -> Any:
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling():
            return original(self, optimizer, *args, **kwargs)
        tell("scaler_begins", self, optimizer)
        result = original(self, optimizer, *args, **kwargs)
        tell("scaler_ended", self, optimizer)
        return result

    return step


def _scaler_scale(original: Any) -> Any:
    def scale(self: Any, outputs: Any) -> Any:
        if is_dynamo_compiling():
            return original(self, outputs)
        result = original(self, outputs)
        tell("scaled", result, getattr(self, "_scale", None))
        return result

    return scale


def _scaler_unscale(original: Any) -> Any:
    def unscale_(self: Any, optimizer: Any) -> Any:
        result = original(self, optimizer)
        if not is_dynamo_compiling():
            tell("unscaled", optimizer)
        return result

    return unscale_
