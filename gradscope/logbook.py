"""Logbook: hands the metrics of a scope to where the user charts, as rows are written. Writers are recognised by what
they offer, so that none is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradscope.errors import UsageError
from gradscope.history import History
from gradscope.metrics import Point, counted, largest, next_count, points_after
from gradscope.report import Report

PREFIX = "gradscope/"
STEP = PREFIX + "step"

Writer = Callable[[Sequence[Point]], None]
"""Takes points in the order of their steps, with their final keys."""


class Logbook:
    """Where each history stands, and when verdicts are counted next."""

    def __init__(self, writer: Writer, judge: Callable[[], Report], *, each: bool = False):
        """judge gives the report on all that was written. each: metrics of every parameter too."""
        self.writer = writer
        self.judge = judge
        self.each = each
        self._last: dict[int, int] = {}
        self._next = next_count(0)
        self._counted = -1

    def written(self, history: History) -> None:
        """Rows were added to a history."""
        after = self._last.setdefault(id(history), -1)
        lead = lead_of(history, first=next(iter(self._last)) == id(history))
        points = points_after(history, after, each=self.each)
        if not points:
            return
        self._last[id(history)] = points[-1].step
        told = [Point(p.step, {lead + key: value for key, value in p.values.items()}) for p in points]
        if points[-1].step + 1 >= self._next:
            self._next = next_count(points[-1].step + 1)
            told[-1].values.update(self._counts(points[-1].step))
        self.writer([p for p in told if p.values])

    def close(self) -> None:
        """The last word: how many verdicts there are in the end."""
        last = max(self._last.values(), default=-1)
        if last > self._counted:
            self.writer([Point(last, self._counts(last))])

    def _counts(self, step: int) -> dict[str, float]:
        self._counted = step
        return {PREFIX + key: value for key, value in counted(self.judge()).items()}


def lead_of(history: History, *, first: bool) -> str:
    """What the keys of an optimizer begin with: PREFIX, and for any but the first its name ("Adam 2" is Adam_2)."""
    name = str(history.facts.get("objective", "")).replace(" ", "_")
    return PREFIX if first else f"{PREFIX}{name}/"


def writer_of(given: Any) -> Writer:
    """What hands points to a SummaryWriter, a run of Weights & Biases, or a function of (values, step).

    Raises UsageError for anything else.
    """
    if not isinstance(given, type):
        if callable(getattr(given, "add_scalar", None)):
            return scalars(given)
        if callable(getattr(given, "log", None)) and callable(getattr(given, "define_metric", None)):
            return run(given)
        if callable(given):
            return calls(given)
    raise UsageError(
        f"watch(): log_to={given!r:.80} is a {type(given).__name__}; expected a SummaryWriter, a run of Weights & "
        "Biases, or a function of (values, step)"
    )


def scalars(writer: Any) -> Writer:
    """Every value of every step as a scalar of TensorBoard."""

    def write(points: Sequence[Point]) -> None:
        for point in points:
            for key, value in point.values.items():
                writer.add_scalar(key, value, global_step=point.step)

    return write


def run(given: Any) -> Writer:
    """Points for Weights & Biases, over an axis of their own, added to the user's next log(), as wandb.watch does.

    A log() of ours would move the run's own step on, and what the user logs for an earlier step is dropped then
    (wandb/wandb#10628). So several steps share a point: it holds the largest value of each.
    """
    given.define_metric(STEP, hidden=True)
    given.define_metric(PREFIX + "*", step_metric=STEP)

    def write(points: Sequence[Point]) -> None:
        if points:
            given.log({**largest(points), STEP: points[-1].step}, commit=False)

    return write


def calls(function: Callable[[dict[str, float], int], Any]) -> Writer:
    """A function of the user's, called with (values, step)."""

    def write(points: Sequence[Point]) -> None:
        for point in points:
            function(dict(point.values), point.step)

    return write
