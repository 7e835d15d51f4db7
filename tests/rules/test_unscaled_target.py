"""GS605 unscaled-target."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.unscaled_target import unscaled_target

from tests.specimens import CALL, found, healthy_run, noise, signs

QUANTITY = "RMS of the targets / of the first predictions"


def sick(*, deviation: float = 1000.0, given: float = 0.5, closing: float = 1.0, **own) -> History:
    """Targets of mean zero and of a deviation, predictions of another, and a final error beside a constant's."""
    error = np.where(np.arange(100) < 50, 1.0, closing) * deviation**2 * (1 + noise(100, 1e-4))
    return healthy_run(
        loss=error, call={"target_deviation": deviation, "prediction_deviation": given}, traits={CALL: own}
    )


def test_targets_far_larger_than_predictions_are_harm():
    assert signs(unscaled_target, sick()) == {(QUANTITY, "output", "harm")}


def test_targets_far_smaller_than_predictions_are_harm():
    assert signs(unscaled_target, sick(deviation=1e-5)) == {(QUANTITY, "output", "harm")}


def test_the_size_of_the_targets_is_told():
    assert [e.detail for e in found(unscaled_target, sick())] == ["targets of about 1e+03"]


@pytest.mark.parametrize(("deviation", "flagged"), [(50.1, True), (49.9, False)])
def test_large_is_the_least_ratio_of_targets_that_are_too_large(deviation, flagged):
    assert bool(found(unscaled_target, sick(deviation=deviation, given=1.0))) is flagged


@pytest.mark.parametrize(("deviation", "flagged"), [(0.99e-2, True), (1.01e-2, False)])
def test_small_is_the_largest_ratio_of_targets_that_are_too_small(deviation, flagged):
    assert bool(found(unscaled_target, sick(deviation=deviation, given=1.0))) is flagged


@pytest.mark.parametrize(("closing", "flagged"), [(0.901, True), (0.899, False)])
def test_poor_is_the_least_error_beside_that_of_a_constant(closing, flagged):
    assert bool(found(unscaled_target, sick(closing=closing))) is flagged


def test_class_labels_show_nothing():
    assert not found(unscaled_target, sick(classes=True))


@pytest.mark.parametrize("operation", ["sigmoid", "tanh", "softmax"])
def test_a_bounded_output_is_left_to_target_out_of_range(operation):
    assert not found(unscaled_target, sick(operation=operation))


def test_a_healthy_run_shows_nothing():
    assert not found(unscaled_target, healthy_run())


@pytest.mark.parametrize(("deviation", "flagged"), [(3.1, True), (2.9, False)])
def test_size_is_the_least_of_targets_that_are_called_large(deviation, flagged):
    """Predictions of nearly zero make any target look large beside them."""
    assert bool(found(unscaled_target, sick(deviation=deviation, given=1e-9))) is flagged
