"""GS302 stalled-loss."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.stalled_loss import stalled_loss

from tests.specimens import CALL, found, healthy_run, noise, signs, stuck

QUANTITY = "error / that of a constant prediction"


def sick(*, closing: float = 1.0, opening: float | None = None, steps: int = 100, **changes) -> History:
    """The error goes from `opening` to `closing` times that of a constant prediction in the middle of the run."""
    error = np.where(np.arange(steps) < steps // 2, closing if opening is None else opening, closing)
    return healthy_run(steps, loss=error * (1 + noise(steps, 1e-4)), **changes)


def test_an_error_that_stays_at_that_of_a_constant_is_harm():
    assert signs(stalled_loss, sick()) == {(QUANTITY, "output", "harm")}


def test_a_run_that_learns_shows_nothing():
    assert not found(stalled_loss, healthy_run())


@pytest.mark.parametrize(("closing", "flagged"), [(0.981, True), (0.979, False)])
def test_close_is_the_least_error(closing, flagged):
    assert bool(found(stalled_loss, sick(closing=closing))) is flagged


@pytest.mark.parametrize(("closing", "flagged"), [(1.49, True), (1.51, False)])
def test_above_is_the_error_beyond_which_a_falling_loss_is_only_slow(closing, flagged):
    assert bool(found(stalled_loss, sick(closing=closing, opening=1.62, run={"gradient_cosine": 0.0}))) is flagged


def test_a_loss_far_above_a_constant_that_stands_still_is_harm():
    assert found(stalled_loss, sick(closing=5.0))


@pytest.mark.parametrize(("cosine", "flagged"), [(0.149, True), (0.151, False)])
def test_heading_is_the_cosine_above_which_a_loss_that_falls_has_only_begun_to(cosine, flagged):
    history = sick(closing=0.99, opening=1.0, run={"gradient_cosine": cosine})
    assert bool(found(stalled_loss, history)) is flagged


def test_heading_counts_when_steps_were_thinned_out():
    history = sick(closing=0.99, opening=1.0, steps=3000, run={"gradient_cosine": 0.5}, budget=2**20)
    assert history["step"].dropped
    assert not found(stalled_loss, history)


def test_fifty_steps_are_enough():
    assert found(stalled_loss, sick(steps=50))


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (sick(steps=49), "fewer than 50 steps"),
        (sick(call=None), "no prediction and target were seen at a loss"),
        (sick(competing=True), "several optimizers have losses of their own"),
    ],
)
def test_what_cannot_be_known_is_not_judged(history, reason):
    with pytest.raises(NotJudged, match=reason):
        found(stalled_loss, history)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": {"loss": None}}, "the loss is unknown"),
        (
            {"traits": {CALL: {"function": "poisson_nll_loss"}}},
            "what a constant prediction would reach is not known for poisson_nll_loss",
        ),
    ],
)
def test_what_is_unknown_is_told(changes, reason):
    with pytest.raises(NotJudged, match=reason):
        found(stalled_loss, healthy_run(**changes))


@pytest.mark.parametrize(("low", "flagged"), [(0.9, False), (0.99, True)])
def test_a_plateau_that_is_ending_is_no_stall(low, flagged):
    """Six of the last steps fall under the constant, and the others rise above it: it moves."""
    loss = stuck(100).copy()
    loss[85:91], loss[91:] = low, 1.1
    assert bool(found(stalled_loss, healthy_run(loss=loss, run={"gradient_cosine": 0.0}))) is flagged
