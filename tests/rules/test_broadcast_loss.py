"""GS604 broadcast-loss."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.broadcast_loss import broadcast_loss

from tests.specimens import CALL, found, healthy_run, signs, stuck


def sick(*, calls: int = 100, loss=None) -> History:
    """[32, 1] against [32] in the first `calls` of 100 steps."""
    return healthy_run(
        loss=stuck(100) if loss is None else loss,
        call={"broadcast": np.arange(100) < calls, "loss_elements": 1024},
        traits={CALL: {"target_shape": (32,)}},
    )


def test_a_loss_larger_than_both_of_its_arguments_is_harm_when_nothing_is_learnt():
    assert signs(broadcast_loss, sick()) == {("elements of the loss", "output", "harm")}


def test_it_is_a_cause_alone_when_the_run_learns():
    learns = healthy_run(call={"broadcast": 1, "loss_elements": 1024})
    assert signs(broadcast_loss, learns) == {("elements of the loss", "output", "cause")}


def test_the_place_and_both_shapes_are_told():
    (e,) = found(broadcast_loss, sick())
    assert (e.source, e.detail) == ("train.py:20", "prediction [32, 1], target [32]")
    assert (e.value, e.relation, e.threshold) == (1024, ">", 32)


@pytest.mark.parametrize(("calls", "flagged"), [(50, True), (49, False)])
def test_share_is_the_least_part_of_calls_that_broadcast(calls, flagged):
    assert bool(found(broadcast_loss, sick(calls=calls))) is flagged


def test_equal_shapes_show_nothing():
    assert not found(broadcast_loss, healthy_run())


@pytest.mark.parametrize(
    ("prediction", "target", "flagged"),
    [
        ((32, 16, 1, 2), (32, 1, 20, 2), False),
        ((32, 1, 2), (1, 32, 2), False),
        ((32, 1), (32,), True),
        ((32,), (32, 1), True),
        ((32, 1), (32, 32), True),
    ],
)
def test_a_difference_of_every_pair_that_was_asked_for_shows_nothing(prediction, target, flagged):
    traits = {CALL: {"function": "difference", "prediction_shape": prediction, "target_shape": target}}
    history = healthy_run(call={"broadcast": 1, "loss_elements": 1024}, traits=traits)
    assert bool(found(broadcast_loss, history)) is flagged


def test_a_loss_function_that_is_given_every_pair_is_told():
    traits = {CALL: {"prediction_shape": (32, 1), "target_shape": (1, 32)}}
    assert found(broadcast_loss, healthy_run(call={"broadcast": 1, "loss_elements": 1024}, traits=traits))
