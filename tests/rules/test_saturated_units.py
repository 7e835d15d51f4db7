"""GS402 saturated-units."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.saturated_units import saturated_units

from tests.specimens import found, healthy_run, learning, signs, stuck

QUANTITY = "share of saturated values"


def sick(*, saturated=0.97, at: str = "second: relu", loss=None, **changes) -> History:
    """An activation whose values lie at their ends in the given part."""
    loss = stuck(100) if loss is None else loss
    return healthy_run(loss=loss, modules={"saturated_fraction": {at: saturated}}, **changes)


def test_saturated_hidden_units_of_a_run_that_does_not_learn_are_harm():
    assert signs(saturated_units, sick()) == {(QUANTITY, "second", "harm")}


def test_units_saturated_from_the_beginning_of_a_run_that_learns_are_a_cause():
    assert signs(saturated_units, sick(loss=learning(100))) == {(QUANTITY, "second", "cause")}


@pytest.mark.parametrize(("saturated", "flagged"), [(0.801, True), (0.799, False)])
def test_share_is_the_bound_when_nothing_is_learnt(saturated, flagged):
    assert bool(found(saturated_units, sick(saturated=saturated))) is flagged


@pytest.mark.parametrize(("saturated", "flagged"), [(0.901, True), (0.899, False)])
def test_early_is_the_bound_when_the_run_learns(saturated, flagged):
    assert bool(found(saturated_units, sick(saturated=saturated, loss=learning(100)))) is flagged


def test_units_that_saturate_late_in_a_run_that_learns_show_nothing():
    late = np.where(np.arange(100) < 20, 0.1, 1.0)
    assert not found(saturated_units, sick(saturated=late, loss=learning(100)))


def test_the_step_is_the_first_at_which_they_were_saturated():
    assert [e.step for e in found(saturated_units, sick(saturated=np.where(np.arange(100) < 20, 0.1, 1.0)))] == [20]


def test_the_output_shows_nothing():
    assert not found(saturated_units, sick(at="output"))


def test_a_single_unit_shows_nothing():
    assert not found(saturated_units, sick(traits={"second: relu": {"units": 1}}))


def test_a_healthy_run_shows_nothing():
    assert not found(saturated_units, healthy_run())


@pytest.mark.parametrize(("saturated", "flagged"), [(0.701, True), (0.699, False)])
def test_several_is_the_bound_where_more_than_one_layer_is_saturated_throughout(saturated, flagged):
    history = healthy_run(modules={"saturated_fraction": dict.fromkeys(("first: relu", "second: relu"), saturated)})
    assert bool(found(saturated_units, history)) is flagged


def test_where_no_activation_could_be_seen_it_is_not_judged():
    unseen = {"modules": {"saturated_fraction": np.nan}}
    assert not found(saturated_units, healthy_run(**unseen))
    with pytest.raises(NotJudged, match="no sigmoid or tanh was seen: the model is compiled"):
        found(saturated_units, healthy_run(**unseen, limits={"activations": "the model is compiled"}))
