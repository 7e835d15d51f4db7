"""Idle: for how many samples in a row each unit of an activation has been zero."""

from __future__ import annotations

from typing import Any

ENOUGH_SAMPLES = 128
"""A unit counts as dead when it was zero for this many samples in a row (a single batch may miss a rare unit)."""


class Idle:
    """The counts of every activation, in arrays of whatever framework they came from."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[Any, int]] = {}

    def dead(self, subject: str, inactive: Any, samples: int) -> Any:
        """For each unit whether it is dead by now; None as long as fewer than ENOUGH_SAMPLES were seen.

        inactive: for each unit, whether it was zero for all of these samples. Other units than before begin anew.
        """
        idle, seen = self._counts.get(subject, (0, 0))
        if getattr(idle, "shape", None) != inactive.shape:
            idle, seen = 0, 0
        idle, seen = (idle + samples) * inactive, seen + samples
        self._counts[subject] = idle, seen
        return idle >= ENOUGH_SAMPLES if seen >= ENOUGH_SAMPLES else None
