"""Schedules: in which steps everything is measured, and not the gradient norms alone."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[int], bool]


def every_step(_step: int) -> bool:
    """In every step: what `check` uses."""
    return True


def sparse_schedule(step: int) -> bool:
    """At steps 0, 1, 2, 4, 8, ... 64 and then at every hundredth: what `watch` uses."""
    return step % 100 == 0 if step > 64 else step & (step - 1) == 0
