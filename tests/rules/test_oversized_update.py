"""GS201 oversized-update."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.oversized_update import oversized_update
from gradscope.verdict import Role

from tests.specimens import PARAMETERS, WEIGHTS, found, healthy_run, signs, stuck

QUANTITY = "update norm / parameter norm"


def sick(*, ratio=2.0, loss=None, **changes) -> History:
    """Every update of a weight matrix is `ratio` times as long as the matrix; nothing is learnt."""
    parameters = {"parameter_norm": dict.fromkeys(WEIGHTS, 1.0), "update_norm": dict.fromkeys(WEIGHTS, ratio)}
    return healthy_run(loss=stuck(100) if loss is None else loss, parameters=parameters, **changes)


def at_step(step: int, ratio: float) -> np.ndarray:
    """Updates of a thousandth, but for one step."""
    return np.where(np.arange(100) == step, ratio, 1e-3)


def test_updates_longer_than_the_weights_are_harm():
    assert signs(oversized_update, sick()) == {(QUANTITY, w, "harm") for w in WEIGHTS}


def test_a_single_step_is_enough_and_is_told():
    assert {e.step for e in found(oversized_update, sick(ratio=at_step(17, 2.0)))} == {17}


def test_a_run_that_learns_shows_nothing():
    assert not found(oversized_update, sick(loss=healthy_run().run("loss").copy()))


def test_a_healthy_run_shows_nothing():
    assert not found(oversized_update, healthy_run())


@pytest.mark.parametrize(("ratio", "flagged"), [(0.301, True), (0.299, False)])
def test_limit_is_the_bound_for_a_single_step(ratio, flagged):
    assert bool(found(oversized_update, sick(ratio=at_step(50, ratio)))) is flagged


@pytest.mark.parametrize(("ratio", "flagged"), [(0.101, True), (0.099, False)])
def test_typical_is_the_bound_for_the_first_tenth_of_the_run(ratio, flagged):
    assert bool(found(oversized_update, sick(ratio=ratio))) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(1, True), (2, False)])
def test_steps_is_the_least_number_of_oversized_ones(steps, flagged):
    assert bool(found(oversized_update, sick(ratio=at_step(50, 2.0)), steps=steps)) is flagged


@pytest.mark.parametrize(("spikes", "flagged"), [((20, 50, 80), False), ((20, 50), True)])
def test_updates_of_recurring_gradient_spikes_are_left_to_their_own_rule(spikes, flagged):
    struck = np.isin(np.arange(100), spikes)
    gradients = dict.fromkeys(PARAMETERS, np.where(struck, 1e4, 1.0))
    assert bool(found(oversized_update, sick(ratio=np.where(struck, 2.0, 1e-3), gradients=gradients))) is flagged


def test_parameters_that_start_at_zero_show_nothing():
    born_zero = {"parameter_norm": dict.fromkeys(WEIGHTS, 0.0), "update_norm": dict.fromkeys(WEIGHTS, 1.0)}
    assert not found(oversized_update, healthy_run(loss=stuck(100), parameters=born_zero))


def test_without_a_weight_matrix_it_is_not_judged():
    with pytest.raises(NotJudged, match="no update of a weight matrix was measured"):
        found(oversized_update, sick(traits={w: {"matrix": False} for w in WEIGHTS}))


@pytest.mark.parametrize(("ratio", "gradient", "own"), [(31.0, 1.0, True), (29.0, 1.0, False), (31.0, 1e3, False)])
def test_an_absurd_learning_rate_is_a_fault_of_its_own_where_the_loss_is_as_steep_as_usual(ratio, gradient, own):
    history = sick(ratio=ratio, gradients=dict.fromkeys(PARAMETERS, gradient))
    assert {e.own for e in found(oversized_update, history)} == {own}


@pytest.mark.parametrize(("closing", "steps", "flagged"), [(0.9, 3, True), (0.9, 2, False), (0.5, 3, False)])
def test_large_first_steps_of_a_run_that_hardly_learns_are_a_cause(closing, steps, flagged):
    """The loss falls, but the error stays near that of a constant."""
    loss = np.linspace(1.0, closing, 200)
    ratio = np.where(np.arange(200) < steps, 0.9, 1e-3)
    parameters = {"parameter_norm": dict.fromkeys(WEIGHTS, 1.0), "update_norm": dict.fromkeys(WEIGHTS, ratio)}
    history = healthy_run(200, loss=loss, parameters=parameters)
    assert {e.role for e in found(oversized_update, history)} == ({Role.CAUSE} if flagged else set())


@pytest.mark.parametrize(("cosine", "flagged"), [(0.9, False), (-0.9, True)])
def test_a_loss_that_is_followed_uphill_has_no_steps_that_are_too_long(cosine, flagged):
    parameters = {"parameter_norm": dict.fromkeys(WEIGHTS, 1.0), "update_norm": dict.fromkeys(WEIGHTS, 0.5)}
    history = healthy_run(loss=1.2 ** np.arange(100), parameters=parameters, run={"gradient_cosine": cosine})
    assert bool(found(oversized_update, history)) is flagged
