"""Belongings: what the attributes of a module hold, noted and put back: containers, tensors, random generators."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradscope_torch.replay.values import flat, key_of, plain

OWN = frozenset(vars(nn.Module()))
"""Attributes that every module has."""
Undo = Callable[[], None]


def belongings(module: nn.Module) -> list[Undo]:
    """What puts the attributes of a module back, as they are now."""
    before = dict(vars(module))

    def back() -> None:
        now = vars(module)
        for key in now.keys() - before.keys():
            del now[key]
        for key, value in before.items():
            if now.get(key, Undo) is not value:
                now[key] = value

    mine = [value for key, value in before.items() if key not in OWN]
    return [back, undo(module._parameters), *(u for held in mine for value in parts(held, set()) if (u := undo(value)))]


def parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """A value and all that it holds."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if isinstance(value, list | tuple | deque | set | dict):
        for held in value.values() if isinstance(value, dict) else value:
            yield from parts(held, seen)


def undo(value: Any) -> Any:
    """What gives a value the content that it has now; None for one whose changes are not seen."""
    if isinstance(value, Tensor):
        return None if isinstance(value, nn.Parameter) or value.is_inference() else undo_tensor(value)
    if isinstance(value, list | deque | set | dict):
        return undo_container(value)
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if isinstance(value, random.Random):
        drawn = value.getstate()
        return lambda: value.setstate(drawn)
    if isinstance(value, np.random.Generator):
        kept = value.bit_generator.state
        return lambda: setattr(value.bit_generator, "state", kept)
    if isinstance(value, np.ndarray) and value.flags.writeable and value.dtype != object:
        copy = value.copy()
        return lambda: np.copyto(value, copy)
    return None


def undo_container(value: Any) -> Undo:
    """For a list, deque, set or dictionary: one that holds the same things is not touched."""
    before = items(value)
    copy = value.copy()

    def back() -> None:
        now = items(value)
        if len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True)):
            return
        value.clear()
        value.extend(copy) if isinstance(value, list | deque) else value.update(copy)

    return back


def items(value: Any) -> list[Any]:
    """What a container holds, its keys too."""
    return [*value, *value.values()] if isinstance(value, dict) else list(value)


def undo_tensor(tensor: Tensor, values: Tensor | None = None) -> Undo:
    """For a tensor, whose count of writes is put back too. values: those that it has now, when a copy is there."""
    preserved = torch.autograd._unsafe_preserve_version_counter(tensor)
    version = tensor._version
    copy = tensor.detach().clone() if values is None else values

    def back() -> None:
        if tensor._version == version and same(tensor, copy):
            return
        with torch.no_grad():
            tensor.copy_(copy)
        preserved.__exit__(None, None, None)

    return back


def same(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same; NaN is NaN."""
    if torch.equal(left, right):
        return True
    if left.shape != right.shape or not (left.is_floating_point() or left.is_complex()):
        return False
    a, b = plain(left), plain(right)
    return a.shape == b.shape and bool(((a == b) | (torch.isnan(a) & torch.isnan(b))).all())


class Writes(TorchDispatchMode):
    """While it is entered, tensors are copied before something is written to them: they are rarely, and are large."""

    def __init__(self, tensors: list[Tensor]):
        super().__init__()
        self.undo: list[Undo] = []
        self._watched: dict[int, list[Tensor]] = {}
        for tensor in tensors:
            self._watched.setdefault(key_of(tensor), []).append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for argument, value in self._written(func, args, kwargs):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._keep(value)
        return func(*args, **kwargs)

    def _written(self, func: Any, args: Any, kwargs: Any) -> Iterator[tuple[Any, Any]]:
        for at, argument in enumerate(func._schema.arguments):
            yield argument, args[at] if at < len(args) else kwargs.get(argument.name)

    def _keep(self, value: Any) -> None:
        for tensor in flat(value):
            if isinstance(tensor, Tensor):
                for known in self._watched.pop(key_of(tensor), ()):
                    if not known.is_inference():
                        self.undo.append(undo_tensor(known))
