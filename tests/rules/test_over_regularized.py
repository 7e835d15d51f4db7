"""GS204 over-regularized."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.over_regularized import over_regularized

from tests.specimens import PARAMETERS, WEIGHTS, found, healthy_run, scaled, signs, stuck

SHRUNK = ("weight norm at the end / at the beginning", "first.weight", "harm")
DECAY = ("weight decay x weights / gradient", None, "harm")
PENALTY = ("penalty in the loss / error", None, "harm")


def shrinking(left: float, steps: int) -> dict:
    """Norms of 1 at the first step alone and of `left` at the last, or nothing else than 1 between them."""
    norms = np.where(np.arange(steps) == steps - 1, left, 1.0)
    return {"parameter_norm": {p: norms if p in WEIGHTS else 1.0 for p in PARAMETERS}}


def sick(*, left: float = 0.1, penalty: float = 5.0, steps: int = 100, loss=None) -> History:
    """A penalty in the loss, first `penalty` times the error, shrinks the weights and itself; the error stays."""
    error = stuck(steps) if loss is None else loss
    return healthy_run(
        steps,
        loss=error * (1 + penalty * (np.arange(steps) < steps // 2)),
        call={"value": error, "prediction_squared_error": error},
        parameters=shrinking(left, steps),
    )


def decaying(*, left: float = 0.1, pull: float = 5.0) -> History:
    """Weight decay in the optimizer, which pulls `pull` times as strongly as the gradient."""
    gradients = {p: 1.0 if p == "first.weight" else 0.0 for p in PARAMETERS}
    return healthy_run(
        loss=stuck(100),
        gradients=gradients,
        parameters=shrinking(left, 100),
        settings={"weight_decay": pull / np.sqrt(3)},
    )


def test_a_penalty_that_outweighs_the_error_is_harm():
    assert signs(over_regularized, sick()) == {SHRUNK, PENALTY}


def test_weight_decay_that_outweighs_the_gradient_is_harm():
    assert signs(over_regularized, decaying()) == {SHRUNK, DECAY}


@pytest.mark.parametrize("specimen", [sick, decaying])
@pytest.mark.parametrize(("left", "flagged"), [(0.59, True), (0.61, False)])
def test_shrink_is_the_most_that_may_be_left_of_the_weights(specimen, left, flagged):
    assert bool(found(over_regularized, specimen(left=left))) is flagged


@pytest.mark.parametrize(
    ("history", "flagged"),
    [
        (sick(penalty=1.01), True),
        (sick(penalty=0.99), False),
        (decaying(pull=1.01), True),
        (decaying(pull=0.99), False),
    ],
)
def test_outweigh_is_the_least_penalty_over_data(history, flagged):
    assert bool(found(over_regularized, history)) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(20, True), (19, False)])
def test_fewest_is_the_least_number_of_steps(steps, flagged):
    assert bool(found(over_regularized, sick(steps=steps))) is flagged


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_loss_that_is_only_multiplied_holds_no_penalty(factor):
    assert not found(over_regularized, scaled(sick(penalty=0.0), factor))


def test_a_run_that_learns_while_its_weights_shrink_shows_nothing():
    assert not found(over_regularized, healthy_run(parameters=shrinking(0.1, 100)))


def test_without_a_prediction_and_a_target_it_is_not_judged():
    with pytest.raises(NotJudged, match="no prediction and target were seen at a loss"):
        found(over_regularized, healthy_run(call=None))


def test_the_gradient_of_biases_does_not_outweigh_the_decay_of_the_matrices():
    history = decaying()
    table = history["gradient"]
    for step in range(100):
        table.record(step, {"gradient_norm": {p: 100.0 for p in PARAMETERS if p not in WEIGHTS}})
    assert signs(over_regularized, history) == {SHRUNK, DECAY}


def test_a_loss_that_falls_with_its_penalty_alone_is_no_progress():
    history = sick(loss=np.linspace(1.0, 0.93, 100), penalty=50.0)
    assert signs(over_regularized, history) == {SHRUNK, PENALTY}


@pytest.mark.parametrize(
    ("optimizer", "decay", "flagged"), [("AdamW", 2.1, True), ("AdamW", 1.9, False), ("Adam", 9, False)]
)
def test_decoupled_decay_that_takes_much_in_each_step_is_a_cause_whatever_is_learnt(optimizer, decay, flagged):
    history = healthy_run(optimizer=optimizer, settings={"weight_decay": decay}, run={"learning_rate": 0.01})
    expected = {("learning rate x weight decay", None, "cause")} if flagged else set()
    assert signs(over_regularized, history) == expected
