"""GS010 missing-gradient."""

import pytest
from gradscope.history import MISSING, History
from gradscope.rule import NotJudged
from gradscope.rules.missing_gradient import missing_gradient

from tests.specimens import LAYERS, found, healthy_run, renamed, signs

QUANTITY = "steps with a gradient"
GONE = {"first.weight": MISSING, "first.bias": MISSING}
NONE_LEFT_OVER = ("", "second", "output")


def sick(*, gradients=GONE, steps: int = 100, **changes) -> History:
    """Backward never reaches the first layer."""
    return healthy_run(steps, gradients=gradients, **changes)


def test_a_module_that_runs_without_a_gradient_is_harm():
    assert signs(missing_gradient, sick()) == {(QUANTITY, "first.weight", "harm"), (QUANTITY, "first.bias", "harm")}


def test_a_module_that_never_runs_is_a_cause():
    left_over = sick(called=NONE_LEFT_OVER)
    assert signs(missing_gradient, left_over) == {
        (QUANTITY, "first.weight", "cause"),
        (QUANTITY, "first.bias", "cause"),
    }


def test_a_module_of_a_library_is_a_note():
    library = sick(traits={p: {"library": True} for p in GONE})
    assert {role for _, _, role in signs(missing_gradient, library)} == {"note"}


@pytest.mark.parametrize(("called", "detail"), [(("", *LAYERS), "its module runs"), (("",), "its module never runs")])
def test_whether_the_module_runs_is_told(called, detail):
    assert {e.detail for e in found(missing_gradient, sick(called=called))} == {detail}


@pytest.mark.parametrize("trait", ["optimized", "trainable", "reachable"])
def test_parameters_that_need_no_gradient_show_nothing(trait):
    assert not found(missing_gradient, sick(traits={p: {trait: False} for p in GONE}))


def test_a_single_bias_of_a_module_that_learns_shows_nothing():
    assert not found(missing_gradient, sick(gradients={"first.bias": MISSING}))


def test_a_single_bias_of_a_module_that_learns_shows_nothing_under_any_name():
    assert not found(missing_gradient, renamed(sick(gradients={"first.bias": MISSING})))


def test_a_gradient_in_one_step_is_enough():
    once = [MISSING] * 99 + [1.0]
    assert not found(missing_gradient, sick(gradients=dict.fromkeys(GONE, once)))


def test_no_gradient_anywhere_is_harm():
    every = {f"{m}.{k}": MISSING for m in LAYERS for k in ("weight", "bias")}
    assert signs(missing_gradient, sick(gradients=every)) == {(QUANTITY, p, "harm") for p in every}


def test_gradients_that_were_cleared_early_are_left_to_unchanged_parameter():
    assert not found(missing_gradient, sick(run={"cleared_early": 1}))


def test_steps_of_which_nothing_is_known_about_clearing_are_judged():
    assert found(missing_gradient, sick(run={"cleared_early": None}))


def test_a_healthy_run_shows_nothing():
    assert not found(missing_gradient, healthy_run())


def test_three_steps_are_enough():
    assert found(missing_gradient, sick(steps=3))


def test_fewer_than_three_steps_are_not_judged():
    with pytest.raises(NotJudged, match="fewer than 3 steps"):
        found(missing_gradient, sick(steps=2))
