"""GS601 unscaled-input."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.unscaled_input import unscaled_input

from tests.specimens import DATA, found, healthy_run, learning, signs, stuck

LARGE = ("RMS of the input", "first", "harm")
UNEVEN = ("RMS of the largest feature / of the median one", "first", "harm")
BLOCKED = ("share of dead or saturated units behind it", "first", "harm")


def sick(*, deviation: float = 1000.0, ratio: float = 1.0, dead: float = 0.1, loss=None, **changes) -> History:
    """Data of a size, and of columns of unequal size."""
    return healthy_run(
        loss=stuck(100) if loss is None else loss,
        inputs={"deviation": deviation, "abs_max": 3 * deviation, "feature_ratio": ratio},
        modules={"dead_fraction": {"first: relu": dead}},
        **changes,
    )


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (sick(), {LARGE}),
        (sick(deviation=2.0, ratio=500.0), {UNEVEN}),
        (sick(ratio=500.0), {LARGE, UNEVEN}),
        (sick(dead=0.9), {LARGE, BLOCKED}),
        (sick(dead=0.9, loss=learning(100)), {LARGE, BLOCKED}),
    ],
)
def test_data_of_the_wrong_size_is_harm(history, expected):
    assert signs(unscaled_input, history) == expected


def test_the_largest_feature_is_told():
    assert [e.detail for e in found(unscaled_input, sick(deviation=2.0, ratio=500.0))] == ["feature 4"]


@pytest.mark.parametrize(("deviation", "flagged"), [(30.1, True), (29.9, False)])
def test_size_is_the_bound_for_the_data(deviation, flagged):
    assert bool(found(unscaled_input, sick(deviation=deviation))) is flagged


@pytest.mark.parametrize(("ratio", "flagged"), [(50.1, True), (49.9, False)])
def test_ratio_is_the_bound_for_unequal_columns(ratio, flagged):
    assert bool(found(unscaled_input, sick(deviation=2.0, ratio=ratio))) is flagged


@pytest.mark.parametrize(("normalizing", "flagged"), [(1, False), (0, True)])
def test_normalizing_excuses_the_input_of_a_normalization_layer(normalizing, flagged):
    history = sick(traits={DATA: {"consumer": "BatchNorm1d"}})
    assert bool(found(unscaled_input, history, normalizing=normalizing)) is flagged


@pytest.mark.parametrize(("dead", "flagged"), [(0.81, True), (0.79, False)])
def test_blocked_units_count_even_in_a_run_that_learns(dead, flagged):
    assert bool(found(unscaled_input, sick(dead=dead, loss=learning(100)))) is flagged


def test_raw_data_that_is_learnt_from_shows_nothing():
    assert not found(unscaled_input, sick(loss=learning(100)))


def test_it_is_a_cause_alone_when_the_progress_is_unknown():
    assert {r for _, _, r in signs(unscaled_input, sick(competing=True))} == {"cause"}


def test_a_healthy_run_shows_nothing():
    assert not found(unscaled_input, healthy_run())


def test_without_any_data_it_is_not_judged():
    with pytest.raises(NotJudged, match="no data was seen entering a layer"):
        found(unscaled_input, History(objective="SGD"))


@pytest.mark.parametrize(
    ("deviation", "closing", "flagged"), [(310.0, 0.85, True), (290.0, 0.85, False), (310.0, 0.75, False)]
)
def test_extreme_data_is_told_of_a_loss_that_falls_when_little_was_learnt(deviation, closing, flagged):
    falls = np.linspace(1, closing, 100) * np.where(np.arange(100) < 75, 1, closing / np.linspace(1, closing, 100))
    assert bool(found(unscaled_input, sick(deviation=deviation, loss=falls))) is flagged
