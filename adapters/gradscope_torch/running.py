"""Running: which optimizers are inside their step. Of one that calls another only the outer counts."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

HERE = str(Path(__file__).parent)


class Running:
    """The steps that began and did not end, the outermost first. One that raised never ends: it is told by its frame,
    which is no longer on the stack when the next step begins."""

    def __init__(self) -> None:
        self._steps: list[tuple[Any, FrameType | None]] = []

    @property
    def anything(self) -> bool:
        """Whether a step began that did not end."""
        return bool(self._steps)

    def begins(self, optimizer: Any) -> bool:
        """A step begins; whether it is inside no other."""
        frame = callers_frame()
        if self._steps:
            self._steps = [(o, f) for o, f in self._steps if o is not optimizer and is_running(f, frame)]
        self._steps.append((optimizer, frame))
        return len(self._steps) == 1

    def ended(self, optimizer: Any) -> bool:
        """A step returned; whether it was inside no other."""
        while any(o is optimizer for o, _ in self._steps):
            self._steps.pop()
        return not self._steps

    def clear(self) -> None:
        """Forgets all, and with the frames what they hold."""
        self._steps = []


def callers_frame() -> FrameType | None:
    """The innermost frame outside of this package: that of torch's wrapper around step(), which lasts as long as it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return frame


def is_running(frame: FrameType | None, innermost: FrameType | None) -> bool:
    """Whether a frame is on the stack that ends in the innermost one."""
    while innermost is not None and innermost is not frame:
        innermost = innermost.f_back
    return innermost is frame
