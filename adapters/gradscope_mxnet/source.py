"""file:line of the code that created a block, seen while it was built."""

from __future__ import annotations

import weakref
from types import FrameType
from typing import Any

from gradscope.frames import users_line


class Sources:
    """Where blocks were created."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[Any, str]] = {}

    def note(self, block: Any, frame: FrameType | None) -> None:
        """Notes where a block is built. The constructors of its own class, which call each other, are passed over."""
        while frame is not None and frame.f_code.co_name == "__init__" and belongs(frame, block):
            frame = frame.f_back
        line = users_line(frame)
        if line is not None:
            self._lines[id(block)] = (weakref.ref(block), line)

    def of(self, block: Any) -> str | None:
        """file:line, or None when the block was not seen being built."""
        found = self._lines.get(id(block))
        return found[1] if found is not None and found[0]() is block else None


def belongs(frame: FrameType, block: Any) -> bool:
    """Whether the frame is that of a method of the block."""
    names = frame.f_code.co_varnames
    return bool(names) and frame.f_locals.get(names[0]) is block
