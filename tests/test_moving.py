"""Moving statistics: known by their names, and unmoved only when all of a module are."""

from __future__ import annotations

import numpy as np
import pytest
from gradscope.moving import moving, never_moved


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("running_mean", True),
        ("running_var", True),
        ("moving_mean", True),
        ("moving_variance", True),
        ("bn_moving_avg", True),
        ("moving_average_of_x", True),
        ("mean", False),
        ("num_batches_tracked", False),
        ("position_table", False),
        ("removing_meaning", False),
        ("moving_target", False),
    ],
)
def test_the_name_tells_a_moving_statistic(name: str, is_one: bool) -> None:
    assert moving([name]) == [name] * is_one


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ({"mean": np.zeros(3), "variance": np.ones(3)}, True),
        ({"mean": np.zeros(3)}, True),
        ({"mean": np.array([0.0, 0.0, 1e-30]), "variance": np.ones(3)}, False),
        ({"mean": np.zeros(3), "variance": np.full(3, 0.9)}, False),  # units that are always zero
        ({"mean": np.array([0.0, 1.0])}, False),
        ({"mean": np.full(3, np.nan)}, False),
        ({"mean": np.empty(0)}, False),
        ({}, False),
    ],
)
def test_they_never_moved_when_all_are_zero_or_one(statistics: dict[str, np.ndarray], expected: bool) -> None:
    assert never_moved(statistics) is expected
