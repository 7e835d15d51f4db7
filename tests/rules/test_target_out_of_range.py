"""GS602 target-out-of-range."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.target_out_of_range import target_out_of_range

from tests.specimens import CALL, found, healthy_run, signs, stuck


def sick(operation: str = "sigmoid", *, low: float = 0.0, high: float = 20.0, loss=None, **own) -> History:
    """Targets between low and high, of deviation 1, behind an output activation."""
    return healthy_run(
        loss=stuck(100) if loss is None else loss,
        call={"target_min": low, "target_max": high},
        traits={CALL: {"operation": operation} | own},
    )


@pytest.mark.parametrize(
    ("operation", "low", "high"),
    [("sigmoid", 0, 9), ("softmax", 0, 9), ("tanh", -1, 9), ("tanh", -9, 1), ("relu", -9, 9), ("softplus", -9, 9)],
)
def test_targets_that_the_output_cannot_reach_are_harm(operation, low, high):
    expected = {(f"target, against a {operation} output", "output", "harm")}
    assert signs(target_out_of_range, sick(operation, low=low, high=high)) == expected


@pytest.mark.parametrize(
    ("operation", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("relu", 0, 900), ("", -900, 900)]
)
def test_targets_within_reach_show_nothing(operation, low, high):
    assert not found(target_out_of_range, sick(operation, low=low, high=high))


def test_class_labels_show_nothing():
    assert not found(target_out_of_range, sick("softmax", high=9, classes=True))


def test_the_side_that_lies_farther_out_is_told():
    (e,) = found(target_out_of_range, sick("tanh", low=-9, high=3))
    assert (e.value, e.relation, e.threshold) == (-9, "<", -1)


@pytest.mark.parametrize(
    ("operation", "low", "high", "flagged"),
    [
        ("sigmoid", 0, 1.051, True),
        ("sigmoid", 0, 1.049, False),
        ("tanh", -1, 1.101, True),
        ("tanh", -1, 1.099, False),
        ("relu", -0.051, 1, True),
        ("relu", -0.049, 1, False),
    ],
)
def test_margin_is_how_far_out_targets_must_lie(operation, low, high, flagged):
    assert bool(found(target_out_of_range, sick(operation, low=low, high=high))) is flagged


@pytest.mark.parametrize(("closing", "role"), [(0.301, "harm"), (0.299, "cause")])
def test_poor_is_the_error_from_which_on_it_is_harm(closing, role):
    loss = np.where(np.arange(100) < 50, 1.0, closing)
    assert {r for _, _, r in signs(target_out_of_range, sick(loss=loss))} == {role}


def test_a_healthy_run_shows_nothing():
    assert not found(target_out_of_range, healthy_run())
