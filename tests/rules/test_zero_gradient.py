"""GS011 zero-gradient."""

import numpy as np
import pytest
from gradscope.history import MISSING, UNOBSERVED, History
from gradscope.rule import NotJudged
from gradscope.rules.zero_gradient import zero_gradient

from tests.specimens import PARAMETERS, found, healthy_run, learning, signs, stuck

QUANTITY = "largest gradient norm"


def sick(*, norms=0.0, at=("first.weight", "first.bias"), steps: int = 100, loss=None) -> History:
    """Backward reaches the first layer with exactly zero."""
    loss = stuck(steps) if loss is None else loss
    return healthy_run(steps, loss=loss, gradients=dict.fromkeys(at, norms))


def test_a_matrix_that_is_reached_with_zero_is_harm_when_nothing_is_learnt():
    assert signs(zero_gradient, sick()) == {(QUANTITY, "first.weight", "harm")}


def test_it_is_a_cause_beside_parts_that_learn():
    assert signs(zero_gradient, sick(loss=learning(100))) == {(QUANTITY, "first.weight", "cause")}


def test_when_all_are_zero_biases_are_named_too():
    assert signs(zero_gradient, sick(at=PARAMETERS)) == {(QUANTITY, p, "harm") for p in PARAMETERS}


def test_one_step_that_is_not_zero_is_enough():
    assert not found(zero_gradient, sick(norms=np.arange(100) == 50))


@pytest.mark.parametrize("absent", [MISSING, UNOBSERVED])
@pytest.mark.parametrize(("seen", "flagged"), [(5, True), (4, False)])
def test_fewest_is_the_least_number_of_zeros_that_were_seen(absent, seen, flagged):
    assert bool(found(zero_gradient, sick(norms=np.where(np.arange(100) < seen, 0.0, absent)))) is flagged


def test_a_bias_alone_shows_nothing():
    assert not found(zero_gradient, sick(at=("first.bias",)))


def test_a_healthy_run_shows_nothing():
    assert not found(zero_gradient, healthy_run())


def test_fewer_than_five_steps_are_not_judged():
    with pytest.raises(NotJudged, match="fewer than 5 steps"):
        found(zero_gradient, sick(steps=4))


@pytest.mark.parametrize(("loss", "role"), [(learning(100), "note"), (stuck(100), "harm")])
def test_a_module_that_never_runs_beside_parts_that_learn_is_a_note(loss, role):
    history = healthy_run(loss=loss, gradients={"first.weight": 0.0}, called=("", "second", "output"))
    assert signs(zero_gradient, history) == {(QUANTITY, "first.weight", role)}


def test_where_it_is_unknown_what_ran_it_stays_a_cause():
    history = healthy_run(gradients={"first.weight": 0.0}, called=())
    assert signs(zero_gradient, history) == {(QUANTITY, "first.weight", "cause")}


def test_gradients_that_were_cleared_too_early_are_another_illness():
    history = healthy_run(gradients=dict.fromkeys(PARAMETERS, 0.0), run={"cleared_early": 1.0})
    assert not found(zero_gradient, history)
