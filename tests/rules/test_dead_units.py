"""GS401 dead-units."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.dead_units import dead_units

from tests.specimens import found, healthy_run, signs, stuck


def sick(*, dead=0.9, loss=None, **changes) -> History:
    """The ReLU after the second layer is dead in the given part."""
    loss = stuck(100) if loss is None else loss
    return healthy_run(loss=loss, modules={"dead_fraction": {"second: relu": dead}}, **changes)


def test_a_dead_layer_of_a_run_that_does_not_learn_is_harm():
    assert signs(dead_units, sick()) == {("share of dead units", "second", "harm")}


def test_a_fully_dead_layer_of_a_run_that_learns_is_a_cause():
    learns = healthy_run(modules={"dead_fraction": {"second: relu": 1.0}})
    assert signs(dead_units, learns) == {("share of dead units", "second", "cause")}


def test_a_tenth_of_dead_units_shows_nothing():
    assert not found(dead_units, healthy_run())


@pytest.mark.parametrize(("dead", "flagged"), [(0.701, True), (0.699, False)])
def test_share_is_the_bound_when_nothing_is_learnt(dead, flagged):
    assert bool(found(dead_units, sick(dead=dead))) is flagged


@pytest.mark.parametrize(("dead", "flagged"), [(0.981, True), (0.979, False)])
def test_nearly_all_is_the_bound_when_the_run_learns(dead, flagged):
    learns = healthy_run(modules={"dead_fraction": {"second: relu": dead}})
    assert bool(found(dead_units, learns)) is flagged


def test_units_that_come_back_show_nothing():
    assert not found(dead_units, sick(dead=np.where(np.arange(100) < 90, 1.0, 0.2)))


def test_the_step_is_the_first_at_which_they_were_dead():
    (e,) = found(dead_units, sick(dead=np.where(np.arange(100) < 30, 0.2, 0.9)))
    assert e.step == 30


def test_a_single_unit_shows_nothing():
    assert not found(dead_units, sick(traits={"second: relu": {"units": 1}}))


@pytest.mark.parametrize(("zero", "step"), [(1.0, 27), (np.where(np.arange(100) < 29, 0.5, 1.0), 29), (0.5, 30)])
def test_units_had_died_before_128_samples_told_so(zero, step):
    history = sick(dead=np.where(np.arange(100) < 30, 0.2, 0.9))
    history["module"].series("zero_fraction", "second: relu")[:] = zero
    assert [e.step for e in found(dead_units, history)] == [step]


def test_where_no_activation_could_be_seen_it_is_not_judged():
    unseen = {"modules": {"dead_fraction": np.nan}}
    assert not found(dead_units, healthy_run(**unseen))
    with pytest.raises(NotJudged, match="no ReLU was seen: the model is compiled"):
        found(dead_units, healthy_run(**unseen, limits={"activations": "the model is compiled"}))
