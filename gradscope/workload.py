"""Workload and Cold: what is needed to train afresh, or to judge a network that was never trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
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


def endless(batches: Any, steps: int) -> Iterator[tuple[Any, Any]]:
    """The batches, started anew when they end, `steps` at most. Raises CannotJudge when there is none, UsageError
    when one is no pair."""
    done = 0
    while done < steps:
        started = done
        source: Iterable[Any] = batches() if callable(batches) else batches
        for batch in source:
            if not isinstance(batch, list | tuple) or len(batch) != 2:
                raise UsageError(f"workload(): a batch must be a pair (input, target), got {type(batch).__name__}")
            yield batch[0], batch[1]
            done += 1
            if done == steps:
                return
        if done == started:
            raise CannotJudge("workload(): batches gave none (an iterator that is used up? give a list or a function)")
