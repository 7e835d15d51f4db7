"""Overwritten arrays: an optimizer steps them, and the program puts other values there before the next step, as a batch
is put into a variable. No step of theirs lasts."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

FACT = "overwritten"
"""The fact of a history that lists their names."""


class Overwritten:
    """What happened to each array between its steps."""

    def __init__(self, *, share: float = 0.5):
        """share: of the entries that must be others, and of the steps before which they must be."""
        self.share = share
        self._after: dict[int, NDArray[Any]] = {}
        self._steps: dict[int, list[bool]] = {}

    def before(self, key: int, values: NDArray[Any]) -> None:
        """The values of an array before a step."""
        last = self._after.get(key)
        if last is not None and values.size:
            self._steps.setdefault(key, []).append(float((values != last).mean()) > self.share)

    def after(self, key: int, values: NDArray[Any]) -> None:
        """The values that the step left."""
        self._after[key] = values.copy()

    def found(self) -> set[int]:
        """The keys of those that are overwritten before most steps."""
        return {key for key, steps in self._steps.items() if sum(steps) > self.share * len(steps)}
