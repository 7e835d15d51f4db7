"""GS301 diverging-loss."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.diverging_loss import diverging_loss

from tests.specimens import CALL, PARAMETERS, found, healthy_run, noise, signs

ENDS = "loss at the end / at the beginning"
BELOW = "|loss| at the end / at the beginning, below zero"
ERROR = "error / that of a constant prediction"


def sick(*, times: float = 20.0, **changes) -> History:
    """A loss that is constant at 1 for 40 steps, then at `times` that."""
    return healthy_run(loss=np.where(np.arange(100) < 40, 1.0, times) * (1 + noise(100, 1e-4)), **changes)


def negative(*, times: float = 50.0, gradient: float = 1.0, levels: bool = False) -> History:
    """A loss without a known prediction that falls in a straight line from -1 (on average) to -times."""
    part = np.minimum(np.arange(100) / 20, 1) if levels else np.arange(100) / 87
    norms = np.linspace(1, gradient, 100)
    return healthy_run(loss=-1 - (times - 1) * part, call=None, gradients={"first.weight": norms * 100})


def signed(*, times: float = 50.0, error: float = 50.0) -> History:
    """A loss whose square was forgotten: it falls from -1 to -times while the error of the prediction grows."""
    early = np.arange(100) < 40
    return healthy_run(loss=np.where(early, -1, -times), call={"prediction_squared_error": np.where(early, 1, error)})


def test_a_loss_that_grows_with_the_error_is_harm():
    assert signs(diverging_loss, sick()) == {(ENDS, None, "harm")}


def test_the_step_is_that_from_which_on_the_loss_is_high():
    assert [e.step for e in found(diverging_loss, sick())] == [40]


def test_a_loss_that_falls_below_zero_while_the_error_grows_shows_both():
    assert signs(diverging_loss, signed()) == {(BELOW, None, "harm"), (ERROR, "output", "harm")}


def test_a_loss_that_falls_without_bound_is_harm():
    assert signs(diverging_loss, negative()) == {(BELOW, None, "harm")}


def test_a_likelihood_that_levels_off_below_zero_shows_nothing():
    assert not found(diverging_loss, negative(levels=True))


def test_a_loss_below_zero_whose_gradient_shrinks_shows_nothing():
    assert not found(diverging_loss, negative(gradient=0.01))


def test_a_run_that_learns_shows_nothing():
    assert not found(diverging_loss, healthy_run())


@pytest.mark.parametrize(("times", "flagged"), [(1.52, True), (1.48, False)])
def test_rise_is_the_least_growth_of_the_loss(times, flagged):
    assert bool(found(diverging_loss, sick(times=times, call=None))) is flagged


@pytest.mark.parametrize(("times", "flagged"), [(10.1, True), (9.9, False)])
def test_fall_is_the_least_size_of_a_loss_below_zero(times, flagged):
    assert bool(found(diverging_loss, signed(times=times))) is flagged


@pytest.mark.parametrize(("error", "flagged"), [(10.1, True), (9.9, False)])
def test_fall_is_also_the_least_growth_of_the_error(error, flagged):
    assert (ERROR in {e.quantity for e in found(diverging_loss, signed(error=error))}) is flagged


@pytest.mark.parametrize(("last", "flagged"), [(10.1, True), (9.9, False)])
def test_sudden_is_the_least_growth_in_a_run_too_short_for_a_trend(last, flagged):
    history = healthy_run(5, loss=np.array([1, 2, 3, 4, last]))
    assert ("loss / first loss" in {e.quantity for e in found(diverging_loss, history)}) is flagged


def test_competing_objectives_are_not_judged():
    with pytest.raises(NotJudged, match="a rising loss may be as intended"):
        found(diverging_loss, sick(competing=True))


def moving(ratio: float) -> dict:
    """Updates of that part of the weights."""
    return {"parameter_norm": dict.fromkeys(PARAMETERS, 1.0), "update_norm": dict.fromkeys(PARAMETERS, ratio)}


def grown(times: float) -> dict:
    """Weights that end `times` as long as they began, by small steps."""
    return {"parameter_norm": dict.fromkeys(PARAMETERS, np.linspace(1, times, 100))}


def test_a_rise_of_a_loss_that_was_not_understood_is_a_note():
    assert signs(diverging_loss, sick(call=None)) == {(ENDS, None, "note")}


@pytest.mark.parametrize(
    ("parameters", "role"),
    [(moving(0.101), "harm"), (moving(0.099), "note"), (grown(10.1), "harm"), (grown(9.9), "note")],
)
def test_it_is_harm_where_the_weights_run_away_too(parameters, role):
    assert signs(diverging_loss, sick(call=None, parameters=parameters)) == {(ENDS, None, role)}


def test_a_likelihood_of_known_targets_that_rises_is_harm_without_a_fit():
    assert signs(diverging_loss, sick(traits={CALL: {"function": "poisson_nll_loss"}})) == {(ENDS, None, "harm")}


def test_a_loss_of_unknown_make_that_grows_geometrically_is_harm():
    assert signs(diverging_loss, healthy_run(loss=1.3 ** np.arange(100), call=None)) == {(ENDS, None, "harm")}
