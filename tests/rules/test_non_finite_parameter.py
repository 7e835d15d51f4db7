"""GS003 non-finite-parameter."""

import numpy as np
from gradscope.history import History
from gradscope.rules.non_finite_parameter import non_finite_parameter

from tests.specimens import found, healthy_run, signs

QUANTITY = "non-finite entries"


def sick(entries: int = 7) -> History:
    """The second layer is poisoned from step 40 on, the last one from step 41 on."""
    steps = np.arange(100)
    return healthy_run(
        parameters={"nonfinite": {"second.weight": entries * (steps >= 40), "output.weight": 3 * (steps >= 41)}}
    )


def test_the_weights_that_were_poisoned_first_are_harm():
    assert signs(non_finite_parameter, sick()) == {(QUANTITY, "second.weight", "harm")}


def test_the_step_and_the_count_are_told():
    assert [(e.step, e.value) for e in found(non_finite_parameter, sick())] == [(40, 7)]


def test_one_entry_is_enough():
    assert found(non_finite_parameter, sick(entries=1))


def test_a_healthy_run_shows_nothing():
    assert not found(non_finite_parameter, healthy_run())
