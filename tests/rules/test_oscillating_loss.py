"""GS303 oscillating-loss."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.oscillating_loss import oscillating_loss

from tests.specimens import CALL, found, healthy_run, noise, signs, stuck

QUANTITY = "excess of alike targets within a batch"


def sick(*, excess: float = 1.0, steps: int = 100, batch: int = 32, **changes) -> History:
    """Two classes, sorted: an excess of 1 is one class per batch, of 0 are batches drawn at random."""
    drawn = 0.5 + 0.5 / batch
    return healthy_run(
        steps,
        loss=stuck(steps, np.log(2)),
        run={"batch_size": batch},
        call={"target_purity": drawn + excess * (1 - drawn)},
        traits={CALL: {"classes": True, "function": "cross_entropy"}},
        classes=[500, 500],
        **changes,
    )


def sorted_targets(between: float) -> History:
    """A regression, with the given part of the variance of its targets between batches."""
    means = np.where(np.arange(100) < 50, 1, -1) * np.sqrt(between + 1 / 32)
    call = {"target_mean": means, "target_deviation": np.sqrt(1 - between - 1 / 32), "prediction_squared_error": 10}
    return healthy_run(loss=stuck(100), call=call)


def test_batches_of_one_class_are_harm_when_nothing_is_learnt():
    assert signs(oscillating_loss, sick()) == {(QUANTITY, None, "harm")}


def test_the_loss_call_is_told():
    assert [e.source for e in found(oscillating_loss, sick())] == ["train.py:20"]


@pytest.mark.parametrize(("excess", "flagged"), [(0.501, True), (0.499, False)])
def test_sorted_share_is_the_least_excess_of_alike_classes(excess, flagged):
    assert bool(found(oscillating_loss, sick(excess=excess))) is flagged


@pytest.mark.parametrize(("between", "flagged"), [(0.501, True), (0.499, False)])
def test_sorted_share_is_also_the_least_variance_between_batches(between, flagged):
    assert bool(found(oscillating_loss, sorted_targets(between))) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(20, True), (19, False)])
def test_fewest_is_the_least_number_of_loss_calls(steps, flagged):
    assert bool(found(oscillating_loss, sick(steps=steps))) is flagged


@pytest.mark.parametrize(("batch", "flagged"), [(4, True), (3, False)])
def test_batches_of_fewer_than_four_show_nothing(batch, flagged):
    assert bool(found(oscillating_loss, sick(batch=batch))) is flagged


def test_next_to_nothing_but_one_class_shows_nothing():
    history = sick()
    history.classes[CALL][:] = [980, 20]
    assert not found(oscillating_loss, history)


def test_a_run_that_learns_shows_nothing():
    assert not found(oscillating_loss, healthy_run())


def test_without_a_prediction_and_a_target_it_is_not_judged():
    with pytest.raises(NotJudged, match="no prediction and target were seen at a loss"):
        found(oscillating_loss, healthy_run(call=None))


@pytest.mark.parametrize(("jump", "flagged"), [(20.0, True), (2.0, False)])
def test_it_is_the_mean_error_that_tells_whether_sorted_targets_are_learnt(jump, flagged):
    """Sorted targets, read twice: the error is small but where one passage ends and the next begins."""
    at = np.arange(100) % 50
    means = np.linspace(-1, 1, 50)[at]
    error = np.where(at < 5, jump, 0.1)
    call = {"target_mean": means, "target_deviation": 0.1}
    assert bool(found(oscillating_loss, healthy_run(loss=error, call=call))) is flagged


def test_a_loss_that_is_unknown_is_told():
    with pytest.raises(NotJudged, match="the loss is unknown"):
        found(oscillating_loss, healthy_run(run={"loss": None}))


def test_objectives_that_compete_are_not_judged():
    with pytest.raises(NotJudged, match="several optimizers have losses of their own"):
        found(oscillating_loss, sick(competing=True))


@pytest.mark.parametrize(("means", "flagged"), [(1.0, False), (np.where(np.arange(100) < 50, 1.0, 0.0), True)])
def test_targets_that_are_one_constant_by_design_show_nothing(means, flagged):
    history = sick()
    history["loss"].series("target_mean", CALL)[:] = means
    history["loss"].series("target_deviation", CALL)[:] = 0
    assert bool(found(oscillating_loss, history)) is flagged


def test_two_calls_of_one_line_whose_targets_differ_show_nothing():
    history = sick()
    history.classes[CALL][:] = 3200
    assert not found(oscillating_loss, history)


@pytest.mark.parametrize(("factor", "flagged"), [(-1.0, True), (0.25, True)])
def test_a_factor_on_the_loss_does_not_make_it_several_terms(factor, flagged):
    history = sick()
    history.run("loss")[:] *= factor
    assert bool(found(oscillating_loss, history)) is flagged


@pytest.mark.parametrize(
    ("value", "passes", "reason"),
    [
        (noise(100), 1, "the loss is made of several terms"),
        (noise(100), 4, "gradients accumulate over several batches"),
        (1.0, 1, "the loss, or the error of the prediction, never changes"),
    ],
)
def test_why_the_loss_is_another_is_told(value, passes, reason):
    history = sick()
    history["loss"].series("value", CALL)[:] = 2 + np.asarray(value)
    history.run("loss")[:] = 2 + np.cumsum(noise(100, seed=1))
    history.run("backward_passes")[:] = passes
    with pytest.raises(NotJudged, match=reason):
        found(oscillating_loss, history)


@pytest.mark.parametrize(("high", "flagged"), [(0.9, True), (0.2, False)])
def test_what_pure_batches_forget_shows_in_the_worst_of_the_errors(high, flagged):
    """Between two jumps every batch is answered by its one class: the mean error is small all the same."""
    errors = np.where(np.arange(100) % 10 < 2, high, 0.01) * np.log(2)
    history = sick(excess=1.0)
    rows = history["loss"].steps
    for step, error in zip(rows.tolist(), errors, strict=True):
        history["loss"].record(step, {"value": {CALL: error}})
        history["step"].record(step, {"loss": {"run": error}})
    assert bool(found(oscillating_loss, history)) is flagged
