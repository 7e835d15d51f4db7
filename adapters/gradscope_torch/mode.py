"""The function mode that hears of every call of torch, and its place in the stack of modes, which is the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from gradscope_torch.forward import Forward
from gradscope_torch.functions import INTERESTING
from gradscope_torch.hook import hearing
from gradscope_torch.replay.streams import DRAWING, current_streams


class OwnMode(TorchFunctionMode):
    """A mode of ours, which keeps out of the way of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.banned = False
        """Whether compiled code runs where it would be on, which would be compiled anew."""
        self._process = os.getpid()
        self.on = False

    def push(self) -> str:
        """Enters the mode, unless one that is not ours is on: that stack must stay the user's. Gives the class of that
        one, "" where there is none."""
        if self.on:
            return ""
        foreign = [m for m in _get_current_function_mode_stack() if not (isinstance(m, OwnMode) or is_default(m))]
        if self.banned:
            return "torch.compile"
        if foreign:
            return type(foreign[-1]).__name__
        self.__enter__()
        self.on = True
        return ""

    def pop(self) -> None:
        """Leaves the mode, wherever in the stack it is; the others stay as they are."""
        if not self.on or not any(m is self for m in _get_current_function_mode_stack()):
            return
        above = []
        while (mode := _pop_mode()) is not self:
            above.append(mode)
        for mode in reversed(above):
            _push_mode(mode)
        self.on = False


class FunctionMode(OwnMode):
    """Passes every call through unchanged and notes the few that matter."""

    def __init__(self, forward: Forward, limits: dict[str, str], observe: Callable[..., None]):
        """observe(forward, name, args, kwargs, result) notes a call. limits: where it is told that none is heard."""
        super().__init__()
        self.forward = forward
        self.limits = limits
        self.observe = observe

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        wanted = self.forward.active and name in INTERESTING and not hearing.off
        if wanted and torch.is_grad_enabled() and os.getpid() == self._process:
            self.observe(self.forward, name, args, kwargs, result)
        return result

    def push(self) -> str:
        """Enters the mode, or says why it cannot."""
        foreign = super().push()
        if foreign:
            self.limits.setdefault("activations", f"another torch function mode is on ({foreign})")
        return foreign


class TapeMode(OwnMode):
    """Passes every call through unchanged and tells a tape of it, while it is open."""

    def __init__(self, note: Callable[..., None]):
        """note(func, args, kwargs, result, streams) is told of every call; streams: those before, of one that draws."""
        super().__init__()
        self.note = note
        self.open = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        draws = self.open and getattr(func, "__name__", "") in DRAWING
        streams = current_streams(beside=False) if draws else None
        result = func(*args, **kwargs) if kwargs else func(*args)
        if self.open and os.getpid() == self._process:
            self.note(func, args, kwargs or {}, result, streams)
        return result


def is_default(mode: Any) -> bool:
    """Whether a mode is that of torch.set_default_device(), which keeps to the bottom of the stack by itself. One of
    `with torch.device(...)` does not: its end would take ours away instead."""
    return mode is getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
