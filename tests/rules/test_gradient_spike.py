"""GS103 gradient-spike."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.gradient_spike import gradient_spike

from tests.specimens import PARAMETERS, found, healthy_run, learning, signs, stuck

QUANTITY = "gradient norm / median of the steps around"


def sick(*, at=(30, 60), times: float = 1e3, steps: int = 100, loss=None, **changes) -> History:
    """Some steps have `times` the gradient of the others."""
    norms = np.where(np.isin(np.arange(steps), at), times, 1.0)
    gradients = {p: norms * (1.0 if p == "second.weight" else 1e-6) for p in PARAMETERS}
    loss = stuck(steps) if loss is None else loss
    return healthy_run(steps, loss=loss, gradients=gradients, **changes)


def test_single_steps_far_above_their_neighbours_are_harm_when_nothing_is_learnt():
    assert signs(gradient_spike, sick()) == {(QUANTITY, "second.weight", "harm")}


def test_every_spike_is_told_with_its_step():
    assert sorted(e.step for e in found(gradient_spike, sick())) == [30, 60]


def test_a_run_that_learns_all_the_same_shows_nothing():
    assert not found(gradient_spike, sick(loss=healthy_run().run("loss").copy()))


def test_a_spike_of_the_loss_is_harm_even_in_a_run_that_learns():
    loss = healthy_run().run("loss").copy()
    loss[60] = 1e4
    assert signs(gradient_spike, sick(loss=loss)) == {(QUANTITY, "second.weight", "harm")}


def test_a_healthy_run_shows_nothing():
    assert not found(gradient_spike, healthy_run())


@pytest.mark.parametrize(("times", "flagged"), [(100.1, True), (99.9, False)])
def test_factor_is_the_least_spike(times, flagged):
    assert bool(found(gradient_spike, sick(times=times))) is flagged


@pytest.mark.parametrize(("count", "flagged"), [(10, True), (11, False)])
def test_share_is_the_most_steps_that_count_as_single(count, flagged):
    assert bool(found(gradient_spike, sick(at=range(10, 10 + 8 * count, 8)))) is flagged


@pytest.mark.parametrize(("step", "flagged"), [(5, True), (4, False)])
def test_the_first_settled_steps_are_left_out(step, flagged):
    assert bool(found(gradient_spike, sick(at=(step,)))) is flagged


@pytest.mark.parametrize(("loss", "steps"), [(stuck(3000), [2500, 2900]), (learning(3000), [])])
def test_spikes_are_judged_when_steps_were_thinned_out(loss, steps):
    history = sick(at=(2500, 2900), steps=3000, loss=loss, budget=2**20)
    assert history["step"].dropped > history["gradient"].dropped
    assert sorted(e.step for e in found(gradient_spike, history)) == steps


def test_forty_steps_are_enough():
    assert found(gradient_spike, sick(steps=40))


def test_fewer_than_four_times_wide_steps_are_not_judged():
    with pytest.raises(NotJudged, match="fewer than 40 sound steps"):
        found(gradient_spike, sick(steps=39))


def test_a_gradient_that_grows_with_the_loss_has_no_spikes():
    norms = 4.0 ** np.arange(100)
    history = healthy_run(loss=norms, gradients=dict.fromkeys(PARAMETERS, norms), call=None)
    assert not found(gradient_spike, history)
