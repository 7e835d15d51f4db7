"""The few functions of torch that must be observed by wrapping, because they offer no hook: backward (to learn the
loss), the inner step of gradient clipping (to learn the norm before it) and the gradient scaler (to see skipped steps).

Each wrapper calls the original with the same arguments and tells those who listen; with no listener left the originals
are put back, unless somebody else has wrapped them since, in which case ours stays and only passes calls through.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch
from gradscope.patches import Patches
from torch.autograd.graph import GradientEdge
from torch.nn.utils import clip_grad
from torch.overrides import is_tensor_like


class Listener(Protocol):
    """Who wants to know."""

    def backward_begins(self, tensors: Any) -> None:
        """backward() was called on one tensor, or a tuple of them."""

    def backward_ended(self) -> None:
        """backward() returned."""

    def clipped(self, parameters: Any, norm: Any, limit: Any) -> None:
        """The gradients of parameters, of total norm `norm`, were limited to the norm `limit`."""

    def scaled(self, outputs: Any, scale: Any) -> None:
        """A scaler multiplied a loss, or a list of them."""

    def scaler_begins(self, scaler: Any, optimizer: Any) -> None:
        """A scaler's step() was called."""

    def scaler_ended(self, scaler: Any, optimizer: Any) -> None:
        """A scaler's step() returned."""


class Outer(threading.local):
    """Whether a backward pass is running. One inside it is a part of it: backward calls itself where a function mode
    is on, and checkpointing calls it for each of its blocks."""

    running = False


LISTENERS: list[Listener] = []
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


def _install() -> None:
    _patches.wrap(torch.autograd, "backward", _backward)
    _patches.wrap(clip_grad, "_clip_grads_with_norm_", _clip)
    _patches.wrap(clip_grad, "clip_grad_value_", _clip_value)
    _patches.wrap(torch.nn.utils, "clip_grad_value_", _clip_value)
    _patches.wrap(torch.amp.GradScaler, "step", _scaler_step)
    _patches.wrap(torch.amp.GradScaler, "scale", _scaler_scale)


def _backward(original: Any) -> Any:
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if _outer.running:
            return original(tensors, *args, **kwargs)
        if not (is_tensor_like(tensors) or isinstance(tensors, GradientEdge)):
            tensors = tuple(tensors)  # what can be gone through once only is gone through here, for all
        for listener in LISTENERS:
            listener.backward_begins(tensors)
        _outer.running = True
        try:
            result = original(tensors, *args, **kwargs)
        finally:
            _outer.running = False
        for listener in LISTENERS:
            listener.backward_ended()
        return result

    return backward


def _clip(original: Any) -> Any:
    def clip(parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
        held = parameters_of(parameters)
        for listener in LISTENERS:
            listener.clipped(held, total_norm, max_norm)
        return original(held, max_norm, total_norm, *args, **kwargs)

    return clip


def _clip_value(original: Any) -> Any:
    def clip_grad_value_(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        held = parameters_of(parameters)
        gradients = [p.grad for p in held if p.grad is not None]
        before = torch.nn.utils.get_total_norm(gradients) if gradients else None
        result = original(held, *args, **kwargs)
        if before is not None:
            for listener in LISTENERS:
                listener.clipped(held, before, torch.nn.utils.get_total_norm(gradients))
        return result

    return clip_grad_value_


def parameters_of(given: Any) -> list[Any]:
    """What clipping takes, one parameter or an iterable of them, as a list."""
    return [given] if isinstance(given, torch.Tensor) else list(given)


def _scaler_step(original: Any) -> Any:
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        for listener in LISTENERS:
            listener.scaler_begins(self, optimizer)
        result = original(self, optimizer, *args, **kwargs)
        for listener in LISTENERS:
            listener.scaler_ended(self, optimizer)
        return result

    return step


def _scaler_scale(original: Any) -> Any:
    def scale(self: Any, outputs: Any) -> Any:
        result = original(self, outputs)
        for listener in LISTENERS:
            listener.scaled(result, getattr(self, "_scale", None))
        return result

    return scale
