"""Places: which module and which line of whose code an operation stands in, seen from its frame."""

from __future__ import annotations

from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from gradscope.frames import is_library, is_users

from gradscope_torch.source import TORCH

EINSUM = torch.functional.einsum.__code__
MODULE_CALL = torch.nn.Module._call_impl.__code__


@dataclass(frozen=True, slots=True)
class Place:
    """The innermost module that is running, and file:line of the user inside of it, of a library there, and of the
    user wherever. whole: the function that operations were called by, where only that is written by people."""

    module: torch.nn.Module | None = None
    own: str | None = None
    library: str | None = None
    around: str | None = None
    whole: str = ""


def kwargs_of(frame: FrameType | None) -> dict[str, Any]:
    """The keyword arguments of the module call that a frame is inside of, for hooks that are not told them."""
    while frame is not None and frame.f_code is not MODULE_CALL:
        frame = frame.f_back
    found: dict[str, Any] = {} if frame is None else frame.f_locals.get("kwargs", {})
    return found


def place_of(frame: FrameType | None) -> Place:
    """Where an operation stands, seen from its frame."""
    module = own = library = around = None
    whole = ""
    while frame is not None and (around is None or module is None):
        file = frame.f_code.co_filename
        if frame.f_code is EINSUM and module is None:
            whole = "einsum"
        if frame.f_code is MODULE_CALL:
            module = module or frame.f_locals.get("self")
        elif around is None and is_users(file):
            around = f"{file}:{frame.f_lineno}"
            own = around if module is None else None
        elif module is None and library is None and "site-packages" in file and TORCH not in file and is_library(file):
            library = f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    if module is None:
        return Place(around=around, whole=whole)
    return Place(module, own, library, around, whole)
