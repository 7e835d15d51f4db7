"""GS304 slow-convergence."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.slow_convergence import slow_convergence

from tests.specimens import PARAMETERS, found, healthy_run, learning, signs


def sick(*, cosine: float = 0.99, gain: float = 0.02, steps: int = 100, **changes) -> History:
    """Every step goes the same way, and the loss falls in one small step by `gain`."""
    loss = np.where(np.arange(steps) < steps // 2, 1.0, 1 - gain)
    return healthy_run(steps, loss=loss, run={"gradient_cosine": cosine}, **changes)


def test_a_loss_that_hardly_falls_along_one_direction_is_a_cause():
    assert signs(slow_convergence, sick()) == {
        ("cosine between consecutive gradients", None, "cause"),
        ("relative fall of the loss", None, "cause"),
    }


@pytest.mark.parametrize(("cosine", "flagged"), [(0.901, True), (0.899, False)])
def test_aligned_is_the_least_cosine(cosine, flagged):
    assert bool(found(slow_convergence, sick(cosine=cosine))) is flagged


@pytest.mark.parametrize(("gain", "flagged"), [(0.0499, True), (0.0501, False)])
def test_gain_is_the_fall_that_is_no_longer_slow(gain, flagged):
    assert bool(found(slow_convergence, sick(gain=gain))) is flagged


@pytest.mark.parametrize(("gain", "flagged"), [(1.01e-3, True), (0.99e-3, False)])
def test_least_is_the_fall_that_is_none(gain, flagged):
    assert bool(found(slow_convergence, sick(gain=gain))) is flagged


def test_a_run_that_learns_shows_nothing():
    assert not found(slow_convergence, healthy_run(loss=learning(100), run={"gradient_cosine": 0.99}))


def test_a_gradient_of_zero_shows_nothing():
    assert not found(slow_convergence, sick(gradients=dict.fromkeys(PARAMETERS, 0)))


def test_fifty_steps_are_enough():
    assert found(slow_convergence, sick(steps=50))


def test_fewer_than_fifty_steps_are_not_judged():
    with pytest.raises(NotJudged, match="fewer than 50 steps"):
        found(slow_convergence, sick(steps=49))


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({"loss": None}, "the loss is unknown"),
        ({"gradient_cosine": None}, "fewer than 50 directions of the gradient were seen"),
    ],
)
def test_what_is_unknown_is_told(run, reason):
    with pytest.raises(NotJudged, match=reason):
        found(slow_convergence, healthy_run(run=run))
