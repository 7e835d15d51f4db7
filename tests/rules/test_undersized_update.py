"""GS202 undersized-update."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.undersized_update import undersized_update

from tests.specimens import PARAMETERS, WEIGHTS, found, healthy_run, learning, signs, stuck

QUANTITY = "largest update norm / parameter norm"


def sick(*, ratio=1e-7, steps: int = 100, loss=None, **changes) -> History:
    """Every update of a weight matrix is `ratio` of the matrix."""
    parameters = {"parameter_norm": dict.fromkeys(WEIGHTS, 1.0), "update_norm": dict.fromkeys(WEIGHTS, ratio)}
    return healthy_run(steps, loss=stuck(steps) if loss is None else loss, parameters=parameters, **changes)


def test_weights_that_hardly_move_are_harm_when_nothing_is_learnt():
    assert signs(undersized_update, sick()) == {(QUANTITY, w, "harm") for w in WEIGHTS}


def test_they_are_a_cause_when_the_progress_is_unknown():
    assert {r for _, _, r in signs(undersized_update, sick(competing=True))} == {"cause"}


def test_a_run_that_learns_shows_nothing():
    assert not found(undersized_update, sick(loss=learning(100)))


@pytest.mark.parametrize(("ratio", "flagged"), [(4.99e-5, True), (5.01e-5, False)])
def test_limit_is_the_largest_step_that_is_too_small(ratio, flagged):
    assert bool(found(undersized_update, sick(ratio=ratio))) is flagged


def test_one_sound_step_is_enough():
    assert not found(undersized_update, sick(ratio=np.where(np.arange(100) == 50, 1e-3, 1e-7)))


def test_updates_of_exactly_zero_are_left_to_unchanged_parameter():
    assert not found(undersized_update, sick(ratio=0.0))


def test_a_healthy_run_shows_nothing():
    assert not found(undersized_update, healthy_run())


@pytest.mark.parametrize("history", [sick(steps=4), sick(traits={w: {"matrix": False} for w in WEIGHTS})])
def test_without_measured_updates_it_is_not_judged(history):
    with pytest.raises(NotJudged, match="too few updates of a weight matrix were measured"):
        found(undersized_update, history)


@pytest.mark.parametrize(("ratio", "gradient", "own"), [(9e-7, 1.0, True), (1.1e-6, 1.0, False), (9e-7, 1e-4, False)])
def test_a_learning_rate_next_to_nothing_is_a_fault_of_its_own_where_the_loss_is_steep(ratio, gradient, own):
    history = sick(ratio=ratio, gradients=dict.fromkeys(PARAMETERS, gradient))
    assert {e.own for e in found(undersized_update, history)} == {own}


@pytest.mark.parametrize(("moved", "zeros", "flagged"), [(0.29, 0.0, True), (0.31, 0.0, False), (0.29, 0.5, False)])
def test_updates_that_round_to_nothing_are_lost(moved, zeros, flagged):
    """Embeddings have many entries without a gradient: those need not move."""
    changes = {"moved_fraction": dict.fromkeys(WEIGHTS, moved), "gradient_zero_fraction": dict.fromkeys(WEIGHTS, zeros)}
    history = healthy_run(loss=stuck(100), parameters=changes)
    quantity = "entries that change in a step, of those with a gradient"
    assert signs(undersized_update, history) == ({(quantity, w, "harm") for w in WEIGHTS} if flagged else set())
