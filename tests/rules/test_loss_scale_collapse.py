"""GS702 loss-scale-collapse."""

from typing import Any

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.loss_scale_collapse import loss_scale_collapse

from tests.specimens import NOTHING, PARAMETERS, found, healthy_run, judged, signs, stuck

OVERFLOW = "share of skipped steps in which its gradient overflows"
SICK = {
    ("share of skipped steps in the second half", None, "harm"),
    ("halvings of the loss scale", None, "harm"),
}


def sick(
    *, skipped: int = 100, halvings: float = 60.0, steps: int = 100, gradients: Any = NOTHING, **how: Any
) -> History:
    """The last `skipped` of 100 steps overflow; the scale falls from 65536 by so many halvings."""
    return healthy_run(
        steps,
        loss=how.pop("loss", stuck(steps)),
        gradients=gradients,
        **how,
        run={
            "skipped": np.arange(steps) >= steps - skipped,
            "loss_scale": 65536.0 / 2 ** np.linspace(0, halvings, steps),
        },
    )


def test_a_scale_that_only_falls_is_harm():
    assert signs(loss_scale_collapse, sick()) == SICK


def test_the_parameters_that_overflow_are_named_and_the_first_of_the_backward_pass_leads():
    history = sick(gradients={"first.weight": np.inf, "second.weight": np.inf})
    assert [e.parameter for e in found(loss_scale_collapse, history)] == ["second.weight", "first.weight", None, None]
    assert signs(loss_scale_collapse, history) == SICK | {
        (OVERFLOW, "second.weight", "harm"),
        (OVERFLOW, "first.weight", "harm"),
    }


def test_nan_is_an_overflow_that_met_another():
    history = sick(gradients={"output.weight": np.nan})
    assert found(loss_scale_collapse, history)[0].parameter == "output.weight"


def test_four_parameters_are_named_at_most():
    history = sick(gradients=dict.fromkeys(PARAMETERS, np.inf))
    named = [e.parameter for e in found(loss_scale_collapse, history) if e.parameter]
    assert named == ["output.weight", "output.bias", "second.weight", "second.bias"]


def test_where_the_order_is_unknown_the_parameter_that_overflows_most_leads():
    often = np.where(np.arange(100) % 4, np.inf, 1.0)
    history = sick(gradients={"first.bias": often, "second.bias": np.inf}, modules={"order": np.nan})
    assert [e.parameter for e in found(loss_scale_collapse, history)][:2] == ["second.bias", "first.bias"]


@pytest.mark.parametrize(("overflows", "named"), [(50, True), (49, False)])
def test_share_is_the_least_part_of_the_skipped_steps_for_a_parameter_too(overflows, named):
    history = sick(gradients={"first.weight": np.where(np.arange(100) < overflows, np.inf, 1.0)})
    assert (found(loss_scale_collapse, history)[0].parameter == "first.weight") is named


def test_steps_that_were_not_skipped_name_nobody():
    norms = np.where(np.arange(100) < 50, np.inf, 1.0)
    assert signs(loss_scale_collapse, sick(skipped=50, gradients={"first.weight": norms})) == SICK


def test_a_loss_that_is_not_finite_itself_is_told_in_place_of_parameters():
    history = sick(loss=np.full(100, np.inf), gradients=dict.fromkeys(PARAMETERS, np.inf))
    quantity = "share of skipped steps whose loss is not finite"
    assert signs(loss_scale_collapse, history) == SICK | {(quantity, None, "harm")}


def test_the_verdict_stands_at_the_module_that_overflows():
    history = sick(gradients={"first.weight": np.inf, "second.weight": np.inf})
    verdict = next(v for v in judged(history).verdicts if v.name == "loss-scale-collapse")
    assert verdict.module == "second"
    assert verdict.consequence_of is None


@pytest.mark.parametrize(("skipped", "flagged"), [(25, True), (24, False)])
def test_share_is_the_least_part_of_the_second_half(skipped, flagged):
    assert bool(found(loss_scale_collapse, sick(skipped=skipped))) is flagged


@pytest.mark.parametrize(("halvings", "flagged"), [(10.01, True), (9.99, False)])
def test_halvings_is_the_least_fall_of_the_scale(halvings, flagged):
    assert bool(found(loss_scale_collapse, sick(halvings=halvings))) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(20, True), (19, False)])
def test_fewest_is_the_least_number_of_steps(steps, flagged):
    assert bool(found(loss_scale_collapse, sick(steps=steps, skipped=steps))) is flagged


def test_skips_while_the_scale_is_searched_show_nothing():
    first = np.arange(100) < 15
    run = {"skipped": first, "loss_scale": 2.0 ** np.maximum(4, 24 - np.arange(100))}
    assert not found(loss_scale_collapse, healthy_run(run=run))


def test_a_run_without_a_scaler_shows_nothing():
    assert not found(loss_scale_collapse, healthy_run())
