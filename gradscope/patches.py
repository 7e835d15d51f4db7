"""Patches: wrapped attributes of classes and modules, for what has no hooks of its own. Each wrapper calls the original
with the same arguments, and close() puts every original back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ABSENT = object()


class Patches:
    """What is wrapped, to be put back."""

    def __init__(self) -> None:
        self._held: list[tuple[Any, str, Any, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replaces owner.name by make(original)."""
        original = getattr(owner, name)
        before = vars(owner).get(name, ABSENT)
        ours = make(original)
        ours.__wrapped__ = original
        ours.__name__ = getattr(original, "__name__", name)
        ours = staticmethod(ours) if isinstance(before, staticmethod) else ours
        setattr(owner, name, ours)
        self._held.append((owner, name, before, ours))

    def close(self) -> None:
        """Puts the originals back, last first; what somebody else has wrapped since stays as it is."""
        for owner, name, before, ours in reversed(self._held):
            if vars(owner).get(name) is not ours:
                continue
            if before is ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._held = []
