"""Where a program failed, read off its traceback: the innermost module that was running, and the shapes it had to do
with."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gradscope_torch.names import Names


def failed_in(error: BaseException | None, names: Names) -> str:
    """`layer 'conv' (Conv2d) at net.py:7, given (8, 1, 28, 28), weight (64, 1, 32, 32)`; "" where no module ran.

    error: what ended the session; of one that was raised from another, as ScriptFailed is, the other.
    """
    found = running(error.__cause__ or error) if error is not None else None
    if found is None:
        return ""
    module, args = found
    name = names.module(module)
    source = names.source(module)
    shapes = [str(tuple(t.shape)) for t in pytree.tree_leaves(args) if isinstance(t, torch.Tensor)]
    own = [f"{key} {tuple(p.shape)}" for key, p in module.named_parameters(recurse=False)]
    where = f"layer {name!r} ({type(module).__name__})" if name else f"model {type(module).__name__}"
    return where + (f" at {source}" if source else "") + "".join(f", {x}" for x in [*given(shapes), *own])


def given(shapes: list[str]) -> list[str]:
    """What a module was given, as words."""
    return ["given " + " ".join(shapes)] if shapes else []


def running(error: BaseException) -> tuple[torch.nn.Module, Any] | None:
    """(the innermost module whose call an error left, its arguments)."""
    innermost: FrameType | None = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is torch.nn.Module._call_impl.__code__:
            innermost = step.tb_frame
        step = step.tb_next
    if innermost is None:
        return None
    held = innermost.f_locals
    return held["self"], (held.get("args"), held.get("kwargs"))
