"""GS403 collapsed-output."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.collapsed_output import collapsed_output

from tests.specimens import CALL, found, healthy_run, signs, stuck

QUANTITY = "variance of the output over a batch / mean square"


def falling_to(closing: float, steps: int = 100, opening: float = 0.5) -> np.ndarray:
    """A variation over the batch that is at `opening` for half of the run, then at `closing`."""
    return np.where(np.arange(steps) < steps // 2, opening, closing)


def sick(*, variation=None, steps: int = 100, **changes) -> History:
    """Predictions become one and the same for all inputs, and no better than a constant."""
    variation = falling_to(1e-6, steps) if variation is None else variation
    changes = {"loss": stuck(steps), "call": {"prediction_deviation": 1e-3}} | changes
    return healthy_run(steps, modules={"batch_variation": {"": variation}}, **changes)


def blind(**changes) -> History:
    """The same without any loss call that was understood: two views that attract each other."""
    return sick(loss=None, call=None, **changes)


def test_a_constant_output_that_explains_nothing_is_harm():
    assert signs(collapsed_output, sick()) == {(QUANTITY, "", "harm")}


def test_without_known_targets_a_collapse_is_harm_too():
    assert signs(collapsed_output, blind()) == {(QUANTITY, "", "harm")}


def test_a_run_that_learns_shows_nothing():
    assert not found(collapsed_output, healthy_run())


def test_targets_that_hardly_vary_excuse_a_constant():
    flat = {"prediction_deviation": 1e-6, "target_deviation": 0.01, "target_mean": 10.0}
    assert not found(collapsed_output, sick(loss=stuck(100, 1e-4), call=flat))


def test_an_output_that_starts_constant_and_opens_up_shows_nothing():
    assert not found(collapsed_output, sick(variation=falling_to(0.5, opening=1e-6)))


@pytest.mark.parametrize(("closing", "flagged"), [(0.99e-3, True), (1.01e-3, False)])
def test_share_is_the_most_variance_that_counts_as_none(closing, flagged):
    assert bool(found(collapsed_output, sick(variation=falling_to(closing)))) is flagged


@pytest.mark.parametrize(("opening", "flagged"), [(5.1e-5, True), (4.9e-5, False)])
def test_fall_is_what_may_be_left_of_the_opening_where_targets_are_unknown(opening, flagged):
    assert bool(found(collapsed_output, blind(variation=falling_to(1e-6, opening=opening)))) is flagged


def test_twenty_steps_are_enough():
    assert found(collapsed_output, sick(steps=20))


def test_fewer_than_twenty_steps_are_not_judged():
    with pytest.raises(NotJudged, match="output was seen at fewer than 20 sound steps"):
        found(collapsed_output, sick(steps=19))


def rates(**changes) -> History:
    """Logarithms of rates around 6: a thousandth of their square is spread, and was from the beginning."""
    squares = np.where(np.arange(100) < 5, 0.02, 36.0)
    modules = {"output_mean_square": {"": squares}, "batch_variation": {"": 0.018 / squares}}
    return healthy_run(modules=modules, **changes)


def test_a_large_mean_beside_a_spread_that_lives_shows_nothing():
    assert not found(collapsed_output, rates(call=None))


@pytest.mark.parametrize(("loss", "flagged"), [(None, False), (stuck(100), True)])
def test_a_likelihood_of_known_targets_that_falls_excuses_a_small_spread(loss, flagged):
    likelihood = {CALL: {"function": "poisson_nll_loss"}}
    history = healthy_run(loss=loss, traits=likelihood, modules={"batch_variation": {"": falling_to(1e-6)}})
    assert bool(found(collapsed_output, history)) is flagged


def test_the_step_is_that_from_which_on_outputs_are_alike():
    assert [e.step for e in found(collapsed_output, sick())] == [50]
