"""The batches of a workload, its recipe, and its score."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from gradscope import Workload
from gradscope.errors import CannotJudge, UsageError
from gradscope.recipe import Recipe, constant, cosine, product, warm_up
from gradscope.workload import MOST_HELD_OUT, Score, endless, groups, held_out, score

THREE = [(0, "a"), (1, "b"), (2, "c")]


def workload(batches: Any = THREE, **changes: Any) -> Workload:
    """One whose model nobody calls."""
    return Workload(None, lambda output, target: None, batches, **changes)


def taken(recipe: Recipe, steps: int, batches: Any = THREE) -> list[list[int]]:
    """The inputs of each step."""
    return [[x for x, _ in group] for group in groups(workload(batches, recipe=recipe), steps)]


# -- the recipe --------------------------------------------------------------------------------------------------------


def test_a_warm_up_rises_in_equal_parts_and_stays() -> None:
    assert [warm_up(4)(step) for step in (0, 1, 2, 3, 4, 100)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_a_cosine_falls_from_one_to_zero_and_stays() -> None:
    found = [cosine(4)(step) for step in (0, 1, 2, 4, 9)]
    assert found == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, 0, 0], abs=1e-15)


def test_schedules_multiply() -> None:
    assert Recipe().factor(7) == 1
    assert Recipe(schedule=product(None, constant(0.5))).factor(3) == 0.5
    assert Recipe(schedule=product(constant(0.5), warm_up(2))).factor(0) == 0.25


@pytest.mark.parametrize(("accumulate", "count"), [(1, 1), (3, 3), (0, 1), (-2, 1), (lambda step: step, 5)])
def test_a_step_takes_one_batch_at_least(accumulate: Any, count: int) -> None:
    assert Recipe(accumulate=accumulate).count(5) == count


@pytest.mark.parametrize("switch", ["clip_norm", "clip_value", "clip_adaptive", "l1", "l2"])
def test_what_changes_gradients_is_known(switch: str) -> None:
    assert Recipe(**{switch: 0.1}).changes_gradients
    assert not Recipe(decay=0.1, accumulate=2, full_batch=True, schedule=warm_up(3)).changes_gradients


# -- batches -----------------------------------------------------------------------------------------------------------


def test_batches_are_started_anew_when_they_end() -> None:
    assert taken(Recipe(), 5) == [[0], [1], [2], [0], [1]]
    assert taken(Recipe(), 4, lambda: iter(THREE)) == [[0], [1], [2], [0]]


def test_accumulated_batches_run_on_over_the_end_of_a_pass() -> None:
    assert taken(Recipe(accumulate=2), 3) == [[0, 1], [2, 0], [1, 2]]


def test_batches_grow_with_the_step() -> None:
    assert taken(Recipe(accumulate=lambda step: 1 + step), 3) == [[0], [1, 2], [0, 1, 2]]


def test_full_batches_take_a_whole_pass_whatever_accumulates() -> None:
    assert taken(Recipe(full_batch=True, accumulate=5), 2) == [[0, 1, 2], [0, 1, 2]]


def test_no_batch_more_than_needed_is_asked_for() -> None:
    asked = []
    source = ((asked.append(i) or i, i) for i in itertools.count())
    assert taken(Recipe(accumulate=2), 2, source) == [[0, 1], [2, 3]]
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(accumulate=2), Recipe(full_batch=True)])
@pytest.mark.parametrize("batches", [[], iter([])])
def test_no_batch_at_all_cannot_be_judged(recipe: Recipe, batches: Any) -> None:
    with pytest.raises(CannotJudge, match="batches gave none"):
        taken(recipe, 2, batches)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(full_batch=True)])
def test_a_batch_that_is_no_pair_is_refused(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match=r"a batch must be a pair \(input, target\), got str"):
        taken(recipe, 1, ["xy"])


def test_endless_ends_after_its_steps() -> None:
    assert [x for x, _ in endless(THREE, 4)] == [0, 1, 2, 0]


def test_what_is_held_out_is_gone_through_once() -> None:
    assert list(held_out(workload(held_out=[(9, 9)]))) == [(9, 9)]
    assert list(held_out(workload())) == THREE


def test_batches_without_end_end_where_a_model_is_scored() -> None:
    assert sum(1 for _ in held_out(workload(lambda: ((i, i) for i in itertools.count())))) == MOST_HELD_OUT


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_score_counts_samples() -> None:
    assert score([(3, 1.0, 0.0), (1, 5.0, 1.0)]) == Score(2.0, 0.25)
    assert score([(3, 1.0, None), (1, 5.0, None)]) == Score(2.0, None)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_score_that_is_not_finite_is_nan(bad: float) -> None:
    found = score([(1, bad, 1.0), (1, 1.0, bad)])
    assert math.isnan(found.loss)
    assert found.metric is not None
    assert math.isnan(found.metric)


def test_no_samples_have_no_score() -> None:
    assert math.isnan(score([(0, 1.0, None)]).loss)
