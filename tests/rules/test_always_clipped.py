"""GS203 always-clipped."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.always_clipped import always_clipped
from gradscope.verdict import Role

from tests.specimens import found, healthy_run, learning, signs, stuck


def sick(*, clipped: int = 100, ratio: float = 50.0, loss=None) -> History:
    """A run that stands still; `clipped` of its 100 steps are cut from `ratio` times the limit."""
    before = np.where(np.arange(100) < clipped, ratio, 0.5)
    return healthy_run(
        loss=stuck(100) if loss is None else loss, run={"clip_before": before * 0.01, "clip_limit": 0.01}
    )


def test_clipping_far_below_the_gradient_in_every_step_is_harm():
    assert signs(always_clipped, sick()) == {
        ("share of steps that were clipped", None, "harm"),
        ("median gradient norm / limit", None, "harm"),
    }


def test_the_limit_is_told():
    assert [e.detail for e in found(always_clipped, sick())] == ["", "limit 0.01"]


@pytest.mark.parametrize(("clipped", "flagged"), [(95, True), (94, False)])
def test_share_is_the_least_part_of_clipped_steps(clipped, flagged):
    assert bool(found(always_clipped, sick(clipped=clipped))) is flagged


@pytest.mark.parametrize(("ratio", "flagged"), [(10.01, True), (9.99, False)])
def test_factor_is_the_least_gradient_over_limit(ratio, flagged):
    assert bool(found(always_clipped, sick(ratio=ratio))) is flagged


def test_clipping_in_a_run_that_learns_shows_nothing():
    assert not found(always_clipped, healthy_run(run={"clip_before": 50.0, "clip_limit": 1.0}))


def test_a_run_without_clipping_shows_nothing():
    assert not found(always_clipped, healthy_run(loss=stuck(100)))


@pytest.mark.parametrize(
    ("ratio", "optimizer", "flagged"), [(101, "SGD", True), (99, "SGD", False), (101, "Adam", False)]
)
def test_starved_is_the_bound_in_a_run_of_sgd_that_learns(ratio, optimizer, flagged):
    history = sick(ratio=ratio, loss=learning(100))
    history.facts["optimizer"] = optimizer
    assert {e.role for e in found(always_clipped, history)} == ({Role.CAUSE} if flagged else set())
