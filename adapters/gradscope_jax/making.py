"""How an optax transformation came to be: seen in the frames of the call that makes it, or read from what its function
closes over."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from gradscope_jax.made import Made

WRAPPERS = frozenset({"with_extra_args_support"})
"""Makers of transformations that are nothing but another one."""
UPDATES = frozenset({"update", "update_fn"})
"""What optax calls the functions that transform updates."""
MOST_NESTED = 20


def made_by(frame: FrameType | None) -> Made:
    """What is being made in a frame of optax: the outermost call of optax around it counts."""
    found = None
    while frame is not None and ("/optax/" in frame.f_code.co_filename or "<string>" in frame.f_code.co_filename):
        found = frame if "/optax/" in frame.f_code.co_filename else found
        frame = frame.f_back
    if found is None:
        return Made("custom")
    values = inspect.getargvalues(found)
    arguments = {k: values.locals[k] for k in values.args if k in values.locals}
    several = values.locals.get(values.varargs, ()) if values.varargs else ()
    transforms = [*several, *arguments.values()]
    transforms += [t for a in arguments.values() if isinstance(a, Mapping) for t in a.values()]
    parts = tuple(m for t in transforms if (m := made_of(t)) is not None)
    return Made(found.f_code.co_name, arguments, parts)


def made_of(transformation: Any, depth: int = 0) -> Made | None:
    """What is known about a transformation; None for what is none. One that was not seen being made is read."""
    update = getattr(transformation, "update", None)
    seen: Made | None = getattr(update, "gradscope_made", None)
    if seen is not None or not hasattr(transformation, "init"):
        return seen
    return _read(update, depth)


def _read(update: Any, depth: int) -> Made:
    """What a function that transforms updates closes over; "custom" for one that is not of optax."""
    code = getattr(update, "__code__", None)
    if code is None or not str(update.__module__).startswith("optax") or depth > MOST_NESTED:
        return Made("custom")
    held = dict(_held(code.co_freevars, update.__closure__ or ()))
    name = update.__qualname__.partition(".")[0]
    parts = tuple(m for value in held.values() for one in _each(value) if (m := _part(one, depth + 1)) is not None)
    if name in WRAPPERS and len(parts) == 1:
        return parts[0]
    arguments = {k: v for k, v in held.items() if isinstance(v, int | float) or k in {"step_size", "step_size_fn"}}
    return Made(name, arguments, parts)


def _held(names: tuple[str, ...], cells: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(names, cells, strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _each(value: Any) -> list[Any]:
    """The members of a collection; anything else by itself. A transformation is a tuple too."""
    if hasattr(value, "init") and hasattr(value, "update"):
        return [value]
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def _part(value: Any, depth: int) -> Made | None:
    """A transformation, its function, or the function of optax that will make it."""
    if hasattr(value, "init") and hasattr(value, "update"):
        return made_of(value, depth)
    name = getattr(value, "__name__", "")
    if name in UPDATES:
        return getattr(value, "gradscope_made", None) or _read(value, depth)
    module = str(getattr(value, "__module__", ""))
    return Made(name) if name == getattr(value, "__qualname__", "") and module.startswith("optax._src.alias") else None
