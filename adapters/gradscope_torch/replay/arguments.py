"""Arguments: the tensors that a call was given, by the names that people know."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gradscope_torch.names import variable_name
from gradscope_torch.replay.calls import Call, tensors_of
from gradscope_torch.replay.run import unwrapped
from gradscope_torch.replay.samples import Batch

LABEL = "_gradscope_name"
"""The attribute of a tensor from a bundle that says which variable of the user's held it."""


def batch_of(call: Call, recurrent: int | None = None) -> Batch | None:
    """The batch that a model was given; None where several of its arguments might tell how many samples there are, and
    differ. recurrent: how many samples a time-major recurrent layer inside was given."""
    given = [t for _, t in arguments_of(call) if t.dim()]
    counted = [t for t in given if not is_edges(t)] or given
    if recurrent is not None:
        for tensor in counted:
            first, second = int(tensor.shape[0]), int(tensor.shape[1]) if tensor.dim() > 1 else None
            if first != second and recurrent in {first, second}:
                return Batch(recurrent) if first == recurrent else Batch(recurrent, 1, first)
        return None
    sizes = {int(t.shape[0]) for t in counted if not is_square(t)} or {int(t.shape[0]) for t in counted}
    if len(sizes) > 1:
        sizes.discard(1)
    return Batch(sizes.pop()) if len(sizes) == 1 else None


def is_edges(tensor: Tensor) -> bool:
    """Whether a tensor looks like the edges of a graph: pairs of indices."""
    whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)
    return whole and tensor.dim() == 2 and tensor.shape[0] == 2


def is_square(tensor: Tensor) -> bool:
    """Whether a tensor looks like a mask of what attends to what."""
    return tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1]


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
