"""GS001 non-finite-loss."""

import math

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.non_finite_loss import non_finite_loss

from tests.specimens import CALL, found, healthy_run, learning, signs

LATE = np.arange(100) >= 70


def sick(value: float = math.nan, **changes) -> History:
    """A loss that is not finite from step 70 on."""
    return healthy_run(loss=np.where(LATE, value, learning(100)), **changes)


def logarithm(margin: float, operation: str = "sigmoid") -> History:
    """The logarithm of a sigmoid, whose argument comes within `margin` of zero at step 30."""
    near = np.where(np.arange(100) == 30, margin, 0.1)
    return healthy_run(call={"margin": near}, traits={CALL: {"function": "log", "operation": operation}})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_harm(value):
    assert signs(non_finite_loss, sick(value)) == {("loss", None, "harm")}


def test_the_first_step_and_the_count_are_told():
    assert [(e.step, e.detail) for e in found(non_finite_loss, sick())] == [(70, "30 of 100 steps")]


def test_the_module_that_made_it_is_told():
    born = {"output_nonfinite": {"second": 5 * LATE, "output": 5 * LATE}, "input_nonfinite": {"output": 5 * LATE}}
    assert signs(non_finite_loss, sick(modules=born)) == {
        ("loss", None, "harm"),
        ("non-finite outputs of finite inputs", "second", "harm"),
    }


def test_data_that_is_not_finite_is_told_instead_of_a_module():
    spread = {"output_nonfinite": {"second": 5 * LATE}}
    assert signs(non_finite_loss, sick(modules=spread, inputs={"nonfinite": LATE})) == {
        ("loss", None, "harm"),
        ("non-finite values in the input", "first", "harm"),
    }


@pytest.mark.parametrize(("skipped", "flagged"), [(50, True), (49, False)])
def test_steps_that_a_loss_scaler_skipped_count_from_half_of_the_run_on(skipped, flagged):
    first = np.arange(100) < skipped
    history = healthy_run(loss=np.where(first, math.inf, 1.0), run={"skipped": first})
    assert bool(found(non_finite_loss, history)) is flagged


def test_a_loss_that_is_no_number_is_a_cause_where_a_loss_scaler_skipped_the_step():
    broken = np.arange(100) % 30 == 9
    history = healthy_run(loss=np.where(broken, math.nan, 1.0), run={"skipped": broken})
    assert signs(non_finite_loss, history) == {("loss", None, "cause")}
    assert [e.step for e in found(non_finite_loss, history)] == [9]


@pytest.mark.parametrize(("margin", "flagged"), [(0.9e-6, True), (1.1e-6, False)])
def test_near_zero_is_the_argument_at_which_an_unprotected_log_is_near_its_end(margin, flagged):
    assert bool(found(non_finite_loss, logarithm(margin))) is flagged


def test_an_unprotected_log_is_a_cause_alone():
    quantity = "argument of log, fed by softmax without protection"
    history = logarithm(0.0, "softmax")
    assert signs(non_finite_loss, history) == {(quantity, "output", "cause")}
    assert [e.step for e in found(non_finite_loss, history)] == [30]


def test_a_healthy_run_shows_nothing():
    assert not found(non_finite_loss, healthy_run())
