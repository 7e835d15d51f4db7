"""The demonstrations: each falls ill as it says, some of its remedies heal it, and some do not."""

from __future__ import annotations

import functools
import math

import pytest
from gradscope.reference.demonstrations import DEMONSTRATIONS
from gradscope.reference.healing import Course, best, course, courses

STEPS = 120
EXPECTED = {
    "deep-sigmoid": ("vanishing-gradient", {"batch-normalization", "replace-activation"}),
    "exploding": ("poor-initialization", {"orthogonal-initialization", "batch-normalization"}),
    "dead-relu": ("dead-units", {"he-initialization", "batch-normalization"}),
    "bad-init": ("poor-initialization", {"he-initialization", "orthogonal-initialization", "batch-normalization"}),
    "high-rate": ("oversized-update", {"lower-learning-rate", "batch-normalization"}),
}
"""The first verdict, and the first remedy of each course that heals."""


@functools.cache
def found(name: str) -> tuple[Course, ...]:
    """Its courses."""
    return tuple(courses(DEMONSTRATIONS[name], STEPS))


def test_every_demonstration_is_expected() -> None:
    assert set(EXPECTED) == set(DEMONSTRATIONS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_demonstration_is_ill_as_it_says_and_healed_by_what_fits(name: str) -> None:
    sick, *treated = found(name)
    illness, healing = EXPECTED[name]
    assert [v.name for v in sick.report.verdicts][:1] == [illness]
    assert sick.report.worst() == "error"
    assert not sick.healthy
    assert {c.treatments[0][0] for c in treated if c.healthy} == healing
    assert not all(c.healthy for c in treated)
    assert all(not c.report.failures for c in (sick, *treated))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_best_course_ends_lower_than_the_sick_one(name: str) -> None:
    sick, *treated = found(name)
    chosen = best(treated)
    assert chosen is not None
    assert chosen.after < 0.5 * chosen.before
    assert not sick.after < 2 * chosen.after


def test_gradients_are_told_layer_by_layer() -> None:
    sick = found("deep-sigmoid")[0].gradients
    assert list(sick) == [f"dense{i}" for i in range(1, 11)]
    assert sick["dense1"] < 1e-4 * sick["dense10"]
    healed = best(found("deep-sigmoid")[1:])
    assert healed is not None
    assert healed.gradients["dense1"] > 0.05 * healed.gradients["dense10"]


def test_a_dead_network_has_gradients_of_zero() -> None:
    assert found("dead-relu")[0].gradients["dense1"] == 0


def test_a_course_is_the_same_each_time() -> None:
    again = course(DEMONSTRATIONS["high-rate"].make(), DEMONSTRATIONS["high-rate"].treatments[0], STEPS)
    first = found("high-rate")[1]
    assert (again.before, again.after, again.gradients) == (first.before, first.after, first.gradients)


def test_a_loss_that_is_not_finite_is_no_health() -> None:
    sick = found("exploding")[0]
    assert math.isnan(sick.after)
    assert not sick.healthy


def test_remedies_are_named_with_their_settings() -> None:
    assert [c.name for c in found("exploding")] == [
        "",
        "clip-gradient-norm (max_norm 1.0)",
        "orthogonal-initialization",
        "batch-normalization + lower-learning-rate (factor 0.5)",
        "lower-learning-rate (factor 0.1)",
    ]
