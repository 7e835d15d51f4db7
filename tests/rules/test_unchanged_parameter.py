"""GS013 unchanged-parameter."""

import numpy as np
import pytest
from gradscope.history import MISSING, History
from gradscope.rule import NotJudged
from gradscope.rules.unchanged_parameter import LEFT_OUT, unchanged_parameter

from tests.specimens import PARAMETERS, found, healthy_run, learning, signs, stuck

OUTSIDE = "steps with a gradient, held by no optimizer"
FIXED = "entries that ever changed"
CLEARED = "share of steps whose gradients were cleared between backward and step"
REPLACED = "steps with a gradient, of a parameter that is in no model"


def sick(*, steps: int = 100, loss=None, gradients=None, **own) -> History:
    """No optimizer holds the weights of the second layer."""
    return healthy_run(
        steps,
        loss=stuck(steps) if loss is None else loss,
        gradients=gradients or {},
        traits={"second.weight": {"optimized": False} | own},
    )


def fixed(*, steps: int = 100, gradient: float = 1.0, moved=0.0, **changes) -> History:
    """The optimizer holds the weights of the second layer, whose value never changes."""
    return healthy_run(
        steps,
        loss=stuck(steps),
        gradients={p: gradient if p == "second.weight" else 1.0 for p in PARAMETERS},
        parameters={"moved_fraction": {"second.weight": moved}},
        **changes,
    )


def cleared(steps: int = 100, **run) -> History:
    """Gradients are cleared between backward and step in the first `steps` of 100 steps."""
    return healthy_run(loss=stuck(100), run={"cleared_early": np.arange(100) < steps} | run)


def replaced(since: int = 0) -> History:
    """The optimizer holds an old copy of the second layer's weights, which got gradients up to a step; the new one gets
    gradients and is held by none."""
    return healthy_run(
        loss=stuck(100),
        gradients={"second.weight": np.where(np.arange(100) < since, 1.0, MISSING)},
        traits={"second.weight": {"reachable": False}, "output.weight": {"optimized": False}},
    )


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (sick(), {(OUTSIDE, "second.weight", "harm")}),
        (sick(loss=learning(100)), {(OUTSIDE, "second.weight", "cause")}),
        (fixed(), {(FIXED, "second.weight", "harm")}),
        (cleared(), {(CLEARED, None, "harm")}),
        (replaced(), {(REPLACED, "second.weight", "harm"), (OUTSIDE, "output.weight", "harm")}),
        (replaced(since=75), {(REPLACED, "second.weight", "harm"), (OUTSIDE, "output.weight", "harm")}),
        (replaced(since=76), {(OUTSIDE, "output.weight", "harm")}),
    ],
)
def test_each_way_to_stand_still_is_named(history, expected):
    assert signs(unchanged_parameter, history) == expected


@pytest.mark.parametrize("own", [{"elsewhere": True}, {"trainable": False}, {"training": False}])
def test_parameters_that_are_not_to_move_show_nothing(own):
    assert not found(unchanged_parameter, sick(**own))


@pytest.mark.parametrize(("gradients", "flagged"), [(5, True), (4, False)])
def test_fewest_is_the_least_number_of_gradients(gradients, flagged):
    norms = np.where(np.arange(8) < gradients, 1.0, 0.0)
    history = sick(steps=8, gradients={"second.weight": norms})
    assert bool(found(unchanged_parameter, history)) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(51, True), (50, False)])
def test_share_is_the_part_of_steps_cleared_early_that_is_too_many(steps, flagged):
    assert bool(found(unchanged_parameter, cleared(steps))) is flagged


@pytest.mark.parametrize(("gradients", "flagged"), [(50, True), (49, False)])
def test_share_is_also_the_least_part_of_steps_with_a_gradient_outside_of_optimizers(gradients, flagged):
    norms = np.where(np.arange(100) < gradients, 1.0, 0.0)
    assert bool(found(unchanged_parameter, sick(gradients={"second.weight": norms}))) is flagged


@pytest.mark.parametrize(("gradient", "flagged"), [(1.1e-6, True), (0.9e-6, False)])
def test_negligible_is_the_gradient_beside_the_largest_that_moves_nothing(gradient, flagged):
    assert bool(found(unchanged_parameter, fixed(gradient=gradient))) is flagged


def test_a_parameter_that_moved_once_shows_nothing():
    assert not found(unchanged_parameter, fixed(moved=np.where(np.arange(100) == 50, 0.01, 0.0)))


def test_steps_that_a_loss_scaler_skipped_show_nothing():
    assert not found(unchanged_parameter, fixed(run={"skipped": 1}))


def test_steps_of_which_nothing_is_known_about_clearing_are_judged():
    assert signs(unchanged_parameter, fixed(run={"cleared_early": None})) == {(FIXED, "second.weight", "harm")}


def test_an_input_that_is_optimized_alone_shows_nothing():
    frozen = {p: {"optimized": False} for p in PARAMETERS} | {"first.weight": {"reachable": False}}
    assert not found(unchanged_parameter, healthy_run(loss=stuck(100), traits=frozen))


def test_a_healthy_run_shows_nothing():
    assert not found(unchanged_parameter, healthy_run())


def test_five_steps_are_enough():
    assert found(unchanged_parameter, fixed(steps=5))


def test_fewer_than_five_steps_are_not_judged():
    with pytest.raises(NotJudged, match="fewer than 5 steps"):
        found(unchanged_parameter, fixed(steps=4))


def test_moving_statistics_that_never_moved_are_a_warning_of_their_own():
    history = healthy_run()
    history.facts["unmoved"] = [("first.running_mean", "first"), ("first.running_var", "first")]
    quantity = "updates of a moving statistic, while its module trained"
    expected = {(quantity, "first.running_mean", "cause"), (quantity, "first.running_var", "cause")}
    assert signs(unchanged_parameter, history) == expected


def test_parameters_that_never_moved_are_told_before_moving_statistics():
    history = fixed()
    history.facts["unmoved"] = [("first.running_mean", "first")]
    assert [e.parameter for e in found(unchanged_parameter, history)] == ["second.weight", "first.running_mean"]


def input_stepped(**changes) -> History:
    """The optimizer steps the first layer's weights alone, which the program overwrites before each step."""
    frozen = {p: {"optimized": p == "first.weight"} | changes.get(p, {}) for p in PARAMETERS}
    gradients = {p: 1.0 if p == "first.weight" else MISSING for p in PARAMETERS}
    history = healthy_run(loss=changes.get("loss", stuck(100)), gradients=gradients, traits=frozen)
    history.facts["overwritten"] = changes.get("overwritten", ["first.weight"])
    return history


def test_weights_stand_still_where_the_overwritten_input_is_stepped():
    expected = {(LEFT_OUT, p, "harm") for p in PARAMETERS if p != "first.weight"}
    assert signs(unchanged_parameter, input_stepped()) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"overwritten": []},
        {"overwritten": ["second.weight"]},
        {"loss": learning(100)},
        {"second.weight": {"optimized": True}},
    ],
    ids=["an input that stays", "another array", "a loss that falls", "weights that are stepped too"],
)
def test_an_input_that_is_meant_to_be_stepped_shows_nothing(changes):
    assert LEFT_OUT not in {quantity for quantity, _, _ in signs(unchanged_parameter, input_stepped(**changes))}
