"""Arguments: the tensors that a call was given, by the names that people know."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from gradscope_torch.names import variable_name
from gradscope_torch.replay.calls import Call, tensors_of
from gradscope_torch.replay.run import unwrapped

LABEL = "_gradscope_name"
"""The attribute of a tensor from a bundle that says which variable of the user's held it."""


def batch_size(call: Call) -> int | None:
    """The first dimension of the first tensor that a model was given."""
    return next((int(t.shape[0]) for _, t in arguments_of(call) if t.dim()), None)


def arguments_of(call: Call) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of what a call was given that no other call had made."""
    target = unwrapped(call.target).forward if call.is_model else call.target
    try:
        known = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        known = []
    for at, value in enumerate(call.args):
        yield from named(known[at] if at < len(known) else "", value, at)
    for key, value in call.kwargs.items():
        yield from named(key, value, 0)


def named(name: str, value: Any, at: int) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a value and of what it holds; one without a name gets that of the user's variable."""
    if isinstance(value, Tensor):
        yield name or label(value) or variable_name(value, sys._getframe(1)) or f"argument {at}", value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from named(f"{name}[{key!r}]", held, at)
    elif isinstance(value, list | tuple):
        for i, held in enumerate(value):
            yield from named(f"{name}[{i}]", held, at)
    else:
        for held in tensors_of(value):
            yield name, held


def label(tensor: Tensor) -> str | None:
    """The name of the variable that held a tensor from a bundle."""
    return getattr(tensor, LABEL, None)
