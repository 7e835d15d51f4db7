"""Arguments of calls as JSON, and back. Plain values stand for themselves, a list for a list; else there is an
object of one key that says what it is: {"tensor": "3"}, {"slot": 2}, {"tuple": [...]}, {"float": "nan"} ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from gradscope.errors import BundleError
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gradscope_torch.bundle.stands import Record, Row, Unsaved
from gradscope_torch.bundle.tensors import Shelf, Unstorable, device_named, here
from gradscope_torch.replay.calls import Slot

DTYPES = {str(d).removeprefix("torch."): d for d in vars(torch).values() if isinstance(d, torch.dtype)}
LAYOUTS = {str(d).removeprefix("torch."): d for d in vars(torch).values() if isinstance(d, torch.layout)}
FORMATS = {str(d).removeprefix("torch."): d for d in vars(torch).values() if isinstance(d, torch.memory_format)}
DEEPEST = 32


class Writer:
    """Turns values into JSON, their tensors onto a shelf. weights: id -> (model, name) of tensors that models hold."""

    def __init__(self, shelf: Shelf, weights: dict[int, tuple[int, str]], label: Callable[[Tensor], str | None]):
        self.shelf = shelf
        self.weights = weights
        self.label = label
        self.missing: list[str] = []
        """What could not be saved, and why."""
        self._known: dict[int, tuple[Tensor, str]] = {}

    def write(self, value: Any, where: str, depth: int = 0) -> Any:
        """The value as JSON. where: told when it cannot be saved."""
        kind = type(value)
        if value is None or kind in {bool, int, str}:
            return value
        if isinstance(value, Tensor):
            return self._tensor(value, where)
        if depth > DEEPEST:
            return self._unsaved(value, where, f"it is nested deeper than {DEEPEST}")
        if kind is list:
            return [self.write(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
        if kind is tuple:
            return {"tuple": [self.write(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]}
        plain = self._plain(value, kind)
        return plain if plain is not None else self._structure(value, kind, where, depth)

    def _plain(self, value: Any, kind: Any) -> Any:
        if kind is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if kind is complex:
            return {"complex": [str(value.real), str(value.imag)]}
        if kind is Slot:
            return {"slot": value.number}
        if kind is torch.Size:
            return {"size": list(value)}
        if value is Ellipsis:
            return {"ellipsis": True}
        if kind is torch.device:
            return {"device": str(value)}
        for name, one in (("dtype", torch.dtype), ("layout", torch.layout), ("memory_format", torch.memory_format)):
            if kind is one:
                return {name: str(value).removeprefix("torch.")}
        if isinstance(value, np.bool_ | np.integer | np.floating):
            return self._plain(value.item(), type(value.item())) if isinstance(value, np.floating) else value.item()
        return None

    def _structure(self, value: Any, kind: Any, where: str, depth: int) -> Any:
        if kind is slice:
            return {"slice": [self.write(v, where, depth + 1) for v in (value.start, value.stop, value.step)]}
        if kind is np.ndarray and value.dtype.kind in "biufc":
            tensor = torch.from_numpy(np.ascontiguousarray(value).copy())
            return {"array": self._shelved(tensor, value)}
        if isinstance(value, PackedSequence):
            return {"packed": [self.write(v, where, depth + 1) for v in value]}
        if kind is dict:
            pairs = [
                [self.write(k, where, depth + 1), self.write(v, f"{where}[{k!r}]", depth + 1)] for k, v in value.items()
            ]
            return {"dict": pairs}
        held = parts_of(value)
        if held is None:
            return self._unsaved(value, where, "only numbers, texts, tensors and containers of them are saved")
        form, parts = held
        named = [[k, self.write(v, f"{where}.{k}", depth + 1)] for k, v in parts.items()]
        return {form: {"class": kind.__qualname__, "fields": named}}

    def _tensor(self, tensor: Tensor, where: str) -> Any:
        held = self.weights.get(id(tensor))
        if held is not None:
            return {"weight": list(held)}
        try:
            return {"tensor": self._shelved(tensor, tensor)}
        except (Unstorable, NotImplementedError, RuntimeError) as error:
            return self._unsaved(tensor, where, str(error))

    def _shelved(self, tensor: Tensor, value: Any) -> str:
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        key = str(len(self.shelf.tensors))
        self.shelf.put(key, tensor, grad=tensor.requires_grad, name=self.label(value))
        self._known[id(value)] = (value, key)
        return key

    def _unsaved(self, value: Any, where: str, why: str) -> Any:
        self.missing.append(f"{where}: a {type(value).__name__}: {why}")
        return {"unsaved": type(value).__qualname__}


def parts_of(value: Any) -> tuple[str, dict[str, Any]] | None:
    """("row" or "record", name -> value) of a named tuple, a dataclass, or a mapping of texts."""
    names = getattr(type(value), "_fields", None)
    if isinstance(value, tuple) and isinstance(names, tuple) and len(names) == len(value):
        return "row", dict(zip(names, value, strict=True))
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return "record", dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return "record", {f.name: getattr(value, f.name) for f in fields(value) if hasattr(value, f.name)}
    return None


class Reader:
    """Turns JSON into values. tensor, weight, slot: what finds those; they raise BundleError."""

    def __init__(
        self, tensor: Callable[[Any, str], Any], weight: Callable[[Any, str], Any], slot: Callable[[Any, str], Any]
    ):
        self._forms: dict[str, Callable[[Any, str, int], Any]] = {
            "tensor": lambda v, w, _: tensor(v, w),
            "weight": lambda v, w, _: weight(v, w),
            "slot": lambda v, w, _: slot(v, w),
            "array": lambda v, w, _: self._array(tensor(v, w)),
            "float": lambda v, _w, _d: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[v],
            "complex": lambda v, _w, _d: complex(float(v[0]), float(v[1])),
            "size": lambda v, _w, _d: torch.Size(whole(v)),
            "ellipsis": lambda _v, _w, _d: Ellipsis,
            "device": lambda v, w, _: here(str(device_named(v, w))),
            "dtype": lambda v, _w, _d: DTYPES[v],
            "layout": lambda v, _w, _d: LAYOUTS[v],
            "memory_format": lambda v, _w, _d: FORMATS[v],
            "unsaved": lambda v, _w, _d: Unsaved(str(v)),
            "tuple": lambda v, w, d: tuple(self.read(listed(v), w, d)),
            "slice": lambda v, w, d: slice(*self._exactly(3, v, w, d)),
            "packed": lambda v, w, d: packed(*self._exactly(4, v, w, d)),
            "dict": lambda v, w, d: {self.read(k, w, d): self.read(x, w, d) for k, x in listed(v)},
            "row": lambda v, w, d: Row.of(str(v["class"]), self._fields(v, w, d)),
            "record": lambda v, w, d: Record.of(str(v["class"]), self._fields(v, w, d)),
        }

    def read(self, node: Any, where: str, depth: int = 0) -> Any:
        """The value. Raises BundleError for what is none."""
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if depth > 2 * DEEPEST:
            raise BundleError(f"{where}: is nested deeper than {2 * DEEPEST}")
        if isinstance(node, list):
            return [self.read(n, where, depth + 1) for n in node]
        form, value = next(iter(node.items())) if len(node) == 1 else ("", None)
        if form not in self._forms:
            raise BundleError(f"{where}: unknown value {str(node)!r:.80}; known: {', '.join(self._forms)}")
        try:
            return self._forms[form](value, where, depth + 1)
        except BundleError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise BundleError(f"{where}: {str(value)!r:.80} is no {form}") from error

    def _exactly(self, count: int, value: Any, where: str, depth: int) -> list[Any]:
        found: list[Any] = self.read(listed(value), where, depth)
        if len(found) != count:
            raise ValueError
        return found

    def _fields(self, value: Any, where: str, depth: int) -> dict[str, Any]:
        return {str(k): self.read(v, where, depth) for k, v in listed(value["fields"])}

    @staticmethod
    def _array(tensor: Any) -> Any:
        return tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else tensor


def packed(data: Any, sizes: Any, order: Any, back: Any) -> PackedSequence:
    """A packed sequence. Raises TypeError and ValueError for parts that make none."""
    if not isinstance(data, Tensor | Slot) or not isinstance(sizes, Tensor):
        raise TypeError
    counts = sizes.tolist() if sizes.dtype is torch.int64 and sizes.dim() == 1 else []
    if not counts or counts != sorted(counts, reverse=True) or counts[-1] < 1:
        raise ValueError
    if isinstance(data, Tensor) and (not data.dim() or len(data) != sum(counts)):
        raise ValueError
    for one in (order, back):
        if isinstance(one, Tensor) and sorted(one.tolist()) != list(range(counts[0])):
            raise ValueError
        if not (one is None or isinstance(one, Tensor)):
            raise TypeError
    return PackedSequence(data, sizes, order, back)


def listed(value: Any) -> list[Any]:
    """The value, which must be a list."""
    if not isinstance(value, list):
        raise TypeError
    return value


def whole(value: Any) -> list[int]:
    """The value, which must be a list of whole numbers."""
    if not all(type(v) is int for v in listed(value)):
        raise TypeError
    return list(value)
