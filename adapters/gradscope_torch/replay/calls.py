"""Calls: one call of a step, one backward pass, and how what they were given refers to what came before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor

from gradscope_torch.replay.states import State
from gradscope_torch.replay.streams import Streams

DEEPEST = 5
"""Levels of containers and objects that tensors are looked for in."""
OPAQUE_OBJECTS = (type, torch.nn.Module, torch.Generator, ModuleType, FunctionType, MethodType)
PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, slice})


@dataclass(frozen=True, slots=True)
class Slot:
    """What an earlier call returned, in the place of a tensor."""

    number: int


@dataclass(slots=True)
class Call:
    """One call. target: a module or a function. results: the slots of the tensors that it returned."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...] = ()
    streams: Streams | None = None
    """Those before a model was called, or a function that draws from them."""
    casting: tuple[Any, ...] | None = None
    grad: bool = True
    differentiable: bool = True
    line: str | None = None
    alive: Callable[[], Any] | None = None
    used: bool = False
    versions: tuple[int, ...] = ()
    states: list[State] = field(default_factory=list)
    """What a model overwrote in itself, as it was before."""

    @property
    def overwritten(self) -> bool:
        """Whether something that it was given has been written to since."""
        return self.versions != versions_of((*self.args, *self.kwargs.values()))

    @property
    def is_model(self) -> bool:
        """Whether it is a model that was called."""
        return isinstance(self.target, torch.nn.Module)


@dataclass(slots=True, weakref_slot=True)
class Pass:
    """One backward pass. losses: what backward() was called on: slots, or tensors whose making is not known. calls: how
    many calls had been made by then. traceable: whether the losses can be made again. gradients: (slot of a model's
    output, gradient that entered it), where something that is not known led to the losses too.
    """

    losses: tuple[Any, ...]
    options: dict[str, Any]
    calls: int
    traceable: bool
    gradients: list[tuple[int, Tensor]] = field(default_factory=list)


def casting_now() -> tuple[Any, ...] | None:
    """(device type, type, whether casts are cached) of the autocast that is on, or None."""
    for device in ("cuda", "cpu"):
        if torch.is_autocast_enabled(device):
            return device, torch.get_autocast_dtype(device), torch.is_autocast_cache_enabled()
    return None


def versions_of(values: Iterable[Any]) -> tuple[int, ...]:
    """How often each tensor among some arguments, and in containers there, has been written to."""
    found: list[int] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(-1 if value.is_inference() else value._version)
        elif type(value) not in PLAIN:
            found += [-1 if t.is_inference() else t._version for t in tensors_of(value)]
    return tuple(found)


def parts_of(value: Any) -> list[Any] | None:
    """What a list, tuple, named tuple or dictionary holds; None for anything else."""
    if type(value) in {list, tuple} or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return list(value)
    return list(value.values()) if type(value) in {dict, OrderedDict} else None


def made_of(value: Any, parts: list[Any]) -> Any:
    """The same container with other parts."""
    if isinstance(value, dict):
        return type(value)(zip(value, parts, strict=True))
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def tensors_of(value: Any, depth: int = DEEPEST) -> Iterator[Tensor]:
    """The tensors in what a model or function returned, in an order that stays the same: in containers and dataclasses,
    and in the attributes of other objects, such as distributions."""
    if isinstance(value, Tensor):
        yield value
    elif type(value) in PLAIN or not depth:
        return
    elif isinstance(value, dict):
        for held in value.values():
            yield from tensors_of(held, depth - 1)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from tensors_of(held, depth - 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from tensors_of(getattr(value, one.name), depth - 1)
    elif not isinstance(value, OPAQUE_OBJECTS):
        yield from tensors_of(getattr(value, "__dict__", {}), depth - 1)


def slots_of(value: Any) -> Iterator[Slot]:
    """The slots in what a call was given."""
    if isinstance(value, Slot):
        yield value
    elif isinstance(value, dict):
        for held in value.values():
            yield from slots_of(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from slots_of(held)
