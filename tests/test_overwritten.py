"""Overwritten arrays: other values in most entries, before most steps."""

from __future__ import annotations

import numpy as np
import pytest
from gradscope.overwritten import Overwritten


def found(steps: int, changed: float, often: float) -> bool:
    """Whether an array is found of which a share of the entries is changed before a share of the steps."""
    looked, values = Overwritten(), np.zeros(100)
    for step in range(steps):
        if step and step <= often * (steps - 1):
            values[: int(changed * 100)] += 1
        looked.before(1, values)
        values -= 0.1
        looked.after(1, values)
    return looked.found() == {1}


@pytest.mark.parametrize(
    ("changed", "often", "expected"),
    [(1.0, 1.0, True), (0.51, 1.0, True), (0.5, 1.0, False), (1.0, 0.6, True), (1.0, 0.5, False), (0.0, 1.0, False)],
)
def test_most_entries_are_others_before_most_steps(changed: float, often: float, expected: bool) -> None:
    assert found(21, changed, often) is expected


def test_one_step_tells_nothing() -> None:
    assert not found(1, 1.0, 1.0)


def test_an_empty_array_is_never_overwritten() -> None:
    looked = Overwritten()
    looked.after(1, np.empty(0))
    looked.before(1, np.empty(0))
    assert looked.found() == set()
