"""GS002 non-finite-gradient."""

import math

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.non_finite_gradient import non_finite_gradient

from tests.specimens import found, healthy_run, signs, stuck


def bad_in(mask, value: float = math.nan) -> np.ndarray:
    """Gradient norms of 1, with a value that is not finite in some steps."""
    return np.where(mask, value, 1.0)


def sick(value: float = math.nan, **changes) -> History:
    """The gradient of the second layer is not finite from step 60 on."""
    return healthy_run(gradients={"second.weight": bad_in(np.arange(100) >= 60, value)}, **changes)


def skipping(bad: int, steps: int = 100, **facts) -> History:
    """The last `bad` steps overflow and are skipped by a loss scaler."""
    return skipped_where(np.arange(steps) >= steps - bad, **facts)


def skipped_where(bad, **facts) -> History:
    """Some steps overflow and are skipped by a loss scaler."""
    gradients = {"second.weight": bad_in(bad, math.inf)}
    return healthy_run(len(bad), loss=stuck(len(bad)), gradients=gradients, run={"skipped": bad}, **facts)


def test_a_scaler_that_has_found_its_scale_is_sound_however_long_it_took():
    assert not found(non_finite_gradient, skipped_where(np.arange(12) < 8))
    assert found(non_finite_gradient, skipped_where(np.arange(12) > 3))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_harm(value):
    assert signs(non_finite_gradient, sick(value)) == {("gradient norm", "second.weight", "harm")}


def test_the_first_such_step_is_told():
    assert [e.step for e in found(non_finite_gradient, sick())] == [60]


def test_a_healthy_run_shows_nothing():
    assert not found(non_finite_gradient, healthy_run())


@pytest.mark.parametrize(("bad", "flagged"), [(50, True), (49, False)])
def test_persistent_is_the_least_part_of_skipped_steps(bad, flagged):
    assert bool(found(non_finite_gradient, skipping(bad))) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(10, True), (9, False)])
def test_fewest_is_the_least_number_of_steps_for_a_scaler_to_fail(steps, flagged):
    assert bool(found(non_finite_gradient, skipping(steps, steps))) is flagged


def test_skipped_steps_show_nothing_when_steps_were_thinned_out():
    history = skipping(3, 3000, budget=2**20)
    assert history["step"].dropped > history["gradient"].dropped
    assert not found(non_finite_gradient, history)
