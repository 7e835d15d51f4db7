"""GS701 gradient-underflow."""

from typing import Any

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.gradient_underflow import gradient_underflow

from tests.specimens import PARAMETERS, WEIGHTS, found, healthy_run, judged, learning, signs, stuck

QUANTITY = "entries of the gradient under the smallest normal number, of those that are not zero"


def sick(
    *,
    under: Any = 0.9,
    zero: Any = 0.0,
    at: Any = WEIGHTS,
    loss: Any = None,
    steps: int = 100,
    moved: Any = 1.0,
    **how: Any,
) -> History:
    """Most of the gradient of some parameters is subnormal, and nothing is learnt."""
    return healthy_run(
        steps,
        loss=stuck(steps) if loss is None else loss,
        parameters={
            "gradient_underflow_fraction": dict.fromkeys(at, under),
            "gradient_zero_fraction": dict.fromkeys(at, zero),
            "moved_fraction": dict.fromkeys(at, moved),
        },
        **how,
    )


def test_an_underflow_while_nothing_is_learnt_is_harm():
    assert signs(gradient_underflow, sick()) == {(QUANTITY, w, "harm") for w in WEIGHTS}


def test_it_is_a_cause_where_the_loss_falls_all_the_same():
    assert signs(gradient_underflow, sick(loss=learning(100))) == {(QUANTITY, w, "cause") for w in WEIGHTS}


def test_it_is_harm_where_the_parameter_stands_still_though_the_loss_falls():
    assert signs(gradient_underflow, sick(loss=learning(100), moved=0.0)) == {(QUANTITY, w, "harm") for w in WEIGHTS}


@pytest.mark.parametrize(("moved", "role"), [(0.0099, "harm"), (0.0101, "cause")])
def test_moving_is_the_least_part_that_changes_of_the_entries_with_a_gradient(moved, role):
    history = sick(loss=learning(100), under=0.5, zero=0.5, moved=0.5 * moved)
    assert {r for _, _, r in signs(gradient_underflow, history)} == {role}


@pytest.mark.parametrize(("under", "flagged"), [(0.51, True), (0.49, False)])
def test_share_is_the_least_part_of_the_entries(under, flagged):
    assert bool(found(gradient_underflow, sick(under=under))) is flagged


@pytest.mark.parametrize(("under", "flagged"), [(0.06, True), (0.04, False)])
def test_zeros_do_not_count_for_they_have_reasons_of_their_own(under, flagged):
    assert bool(found(gradient_underflow, sick(under=under, zero=0.9))) is flagged


def test_beside_a_loss_that_falls_one_matrix_is_not_enough_and_most_are():
    assert not found(gradient_underflow, sick(at=WEIGHTS[:1], loss=learning(100)))
    assert len(found(gradient_underflow, sick(at=WEIGHTS[:2], loss=learning(100)))) == 2


def test_one_matrix_is_enough_where_nothing_is_learnt():
    assert signs(gradient_underflow, sick(at=WEIGHTS[:1])) == {(QUANTITY, WEIGHTS[0], "harm")}


def test_biases_alone_show_nothing():
    assert not found(gradient_underflow, sick(at=tuple(p for p in PARAMETERS if p.endswith("bias"))))


def test_gradients_that_shrink_after_the_loss_has_fallen_show_nothing():
    loss = learning(100)
    assert not found(gradient_underflow, sick(loss=loss, under=np.where(loss < 0.5, 0.99, 0.0)))


def test_without_a_loss_the_first_quarter_counts():
    early, late = np.where(np.arange(100) < 25, 0.9, 0.0), np.where(np.arange(100) < 25, 0.0, 0.9)
    unknown = {"loss": np.full(100, np.nan), "call": None, "run": {"loss_nonfinite": np.nan}}
    assert found(gradient_underflow, sick(under=early, **unknown))
    assert not found(gradient_underflow, sick(under=late, **unknown))


def test_steps_that_a_scaler_skipped_do_not_count():
    skipped = np.arange(100) < 60
    history = sick(under=np.where(skipped, 0.9, 0.0), run={"skipped": skipped})
    assert not found(gradient_underflow, history)


@pytest.mark.parametrize(("steps", "judged"), [(3, True), (2, False)])
def test_fewest_is_the_least_number_of_steps(steps, judged):
    if judged:
        assert found(gradient_underflow, sick(steps=steps))
    else:
        with pytest.raises(NotJudged, match="no weight matrix had a gradient that was measured in 3 steps"):
            found(gradient_underflow, sick(steps=steps))


def test_what_cannot_be_told_any_more_is_not_judged():
    with pytest.raises(NotJudged, match="passed through float16"):
        found(gradient_underflow, sick(under=np.nan, at=PARAMETERS, half=True))


def test_a_healthy_run_shows_nothing():
    assert not found(gradient_underflow, healthy_run())


def test_the_remedy_is_to_scale_the_loss():
    verdict = next(v for v in judged(sick()).verdicts if v.name == "gradient-underflow")
    assert [r.name for r in verdict.remedies] == ["loss-scaling"]
    assert verdict.remedies[0].reason.startswith("45% of the entries")


def test_a_loss_that_is_scaled_already_is_not_to_be_scaled():
    verdict = next(v for v in judged(sick(run={"loss_scale": 8.0})).verdicts if v.name == "gradient-underflow")
    assert not verdict.remedies


def test_gradients_of_half_precision_that_are_all_zero_may_have_vanished_in_it():
    history = sick(under=0.0, zero=1.0, at=PARAMETERS, gradients=dict.fromkeys(PARAMETERS, 0.0), half=True)
    verdict = next(v for v in judged(history).verdicts if v.name == "zero-gradient")
    assert "loss-scaling" in {r.name for r in verdict.remedies}


def test_gradients_of_full_precision_that_are_all_zero_have_not():
    history = sick(under=0.0, zero=1.0, at=PARAMETERS, gradients=dict.fromkeys(PARAMETERS, 0.0))
    verdict = next(v for v in judged(history).verdicts if v.name == "zero-gradient")
    assert "loss-scaling" not in {r.name for r in verdict.remedies}
