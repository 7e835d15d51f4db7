"""Patches: wrapped attributes of classes and modules, for what has no hooks of its own. Each wrapper calls the original
with the same arguments, and close() puts every original back."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

ABSENT = object()
COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


class Patches:
    """What is wrapped, to be put back."""

    def __init__(self, **marks: Any) -> None:
        """marks: attributes that every wrapper gets."""
        self._marks = marks
        self._held: list[tuple[Any, str, Any, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replaces owner.name by make(original), unless it is wrapped still."""
        if any(held is owner and known == name for held, known, _, _ in self._held):
            return
        original = getattr(owner, name)
        before = vars(owner).get(name, ABSENT)
        wrapper = update_wrapper(make(original), original, assigned=COPIED, updated=())
        vars(wrapper).update(self._marks)
        ours = staticmethod(wrapper) if isinstance(before, staticmethod) else wrapper
        setattr(owner, name, ours)
        self._held.append((owner, name, before, ours))

    def close(self) -> None:
        """Puts the originals back, last first. What somebody else has wrapped since stays as it is, and ours in it."""
        for held in self._held[::-1]:
            owner, name, before, ours = held
            if vars(owner).get(name) is not ours:
                continue
            self._held.remove(held)
            if before is ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
