"""GS012 stale-gradient."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.stale_gradient import stale_gradient

from tests.specimens import found, healthy_run, learning, signs, stuck

QUANTITY = "share of steps that begin with the last step's gradient"


def sick(*, carried: int = 99, loss=None, steps: int = 100) -> History:
    """The last `carried` steps begin with the gradient of the step before."""
    loss = stuck(steps) if loss is None else loss
    return healthy_run(steps, loss=loss, run={"carried_over": np.arange(steps) >= steps - carried})


def test_gradients_that_are_never_cleared_are_harm_when_nothing_is_learnt():
    assert signs(stale_gradient, sick()) == {(QUANTITY, None, "harm")}


def test_they_are_a_cause_alone_when_the_run_learns():
    assert signs(stale_gradient, sick(loss=learning(100))) == {(QUANTITY, None, "cause")}


@pytest.mark.parametrize(("carried", "flagged"), [(50, True), (49, False)])
def test_share_is_the_least_part_of_such_steps(carried, flagged):
    assert bool(found(stale_gradient, sick(carried=carried))) is flagged


def test_gradients_that_are_cleared_show_nothing():
    assert not found(stale_gradient, healthy_run())


def test_four_steps_are_enough():
    assert found(stale_gradient, sick(steps=4, carried=3))


def test_fewer_than_four_steps_are_not_judged():
    with pytest.raises(NotJudged, match="too few backward passes were seen between steps"):
        found(stale_gradient, sick(steps=3, carried=2))
