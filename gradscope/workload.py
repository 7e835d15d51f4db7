"""Workload and Cold: what is needed to train afresh, or to judge a network that was never trained."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from gradscope.errors import CannotJudge, UsageError
from gradscope.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Workload:
    """A training that can be started from nothing.

    model: a model, or a function without arguments that builds one. loss: called as loss(output, target).
    batches: an iterable of (input, target), or a function that gives one; it is started anew when it ends.
    optimizer: a function from parameters to an optimizer; Adam with its defaults when None.
    recipe: how it is stepped. held_out: batches like `batches` that no step is taken on: what a remedy does is measured
    there. metric: called as metric(output, target) on those; a number of which more is better.
    """

    model: Any
    loss: Callable[..., Any]
    batches: Iterable[Any] | Callable[[], Iterable[Any]]
    optimizer: Callable[..., Any] | None = None
    recipe: Recipe = field(default_factory=Recipe)
    held_out: Iterable[Any] | Callable[[], Iterable[Any]] | None = None
    metric: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model does on batches: the mean of the loss and of the metric over samples; NaN where not finite."""

    loss: float
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class Cold:
    """A model class to judge at initialization.

    build: called without arguments. input_shape: without the batch. classes: targets are drawn from so many classes;
    None for no loss but the sum of squares of the output. batch: samples drawn. seed: of the drawing.
    """

    build: Callable[[], Any]
    input_shape: tuple[int, ...]
    classes: int | None = None
    batch: int = 64
    seed: int = 0


MOST_HELD_OUT = 1000
"""So many batches are looked at where a model is scored, should they never end."""
Pair = tuple[Any, Any]


def pairs(batches: Any) -> Iterator[Pair]:
    """One pass over the batches. Raises UsageError when one is no pair."""
    source: Iterable[Any] = batches() if callable(batches) else batches
    for batch in source:
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            raise UsageError(f"workload(): a batch must be a pair (input, target), got {type(batch).__name__}")
        yield batch[0], batch[1]


def none_given(what: str = "batches") -> CannotJudge:
    """What is raised where there is no batch."""
    return CannotJudge(f"workload(): {what} gave none (an iterator that is used up? give a list or a function)")


def endless(batches: Any, steps: int) -> Iterator[Pair]:
    """The batches, started anew when they end, `steps` at most. Raises CannotJudge when there is none, UsageError
    when one is no pair."""
    done = 0
    while done < steps:
        started = done
        for pair in pairs(batches):
            yield pair
            done += 1
            if done == steps:
                return
        if done == started:
            raise none_given()


def groups(workload: Workload, steps: int) -> Iterator[list[Pair]]:
    """The batches of each step, as the recipe asks for. Raises what endless() raises."""
    recipe = workload.recipe
    if recipe.full_batch:
        for _ in range(steps):
            everything = list(pairs(workload.batches))
            if not everything:
                raise none_given()
            yield everything
        return
    stream = endless(workload.batches, sys.maxsize)
    for step in range(steps):
        yield list(islice(stream, recipe.count(step)))


def held_out(workload: Workload) -> Iterator[Pair]:
    """The batches that a model is scored on. Raises CannotJudge when there is none."""
    what, given = ("batches", workload.batches) if workload.held_out is None else ("held_out", workload.held_out)
    empty = True
    for pair in islice(pairs(given), MOST_HELD_OUT):
        empty = False
        yield pair
    if empty:
        raise none_given(what)


def score(parts: Iterable[tuple[int, float, float | None]]) -> Score:
    """From (samples, mean loss, mean of the metric or None) of each batch."""
    count, loss, metric, measured = 0, 0.0, 0.0, False
    for samples, one, other in parts:
        count += samples
        loss += samples * one
        if other is not None:
            measured, metric = True, metric + samples * other
    if not count:
        return Score(math.nan, math.nan if measured else None)
    return Score(finite(loss / count), finite(metric / count) if measured else None)


def finite(value: float) -> float:
    """The value; NaN for what is not finite."""
    return value if math.isfinite(value) else math.nan
