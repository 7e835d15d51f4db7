"""Reading a history: whether the loss falls, which steps are sound, how large gradients and updates are.

Everything here is dimensionless: the loss times a million gives the same answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from gradscope.history import UNOBSERVED, History, Table

Array = Any

FEWEST = 10
"""Fewer losses than this have no trend."""


Reading = TypeVar("Reading")


def once(read: Callable[[History], Reading]) -> Callable[[History], Reading]:
    """Remembers what was read from a history until a row is added to it: many rules ask the same."""

    @functools.wraps(read)
    def remembered(history: History) -> Reading:
        rows = tuple(len(t) + t.dropped for t in history.tables.values())
        key = (rows, bool(history.facts.get("competing")))
        known = history.readings.get(read.__name__)
        if known is None or known[0] != key:
            value = read(history)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            history.readings[read.__name__] = known = (key, value)
        return cast(Reading, known[1])

    return remembered


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series moved from its opening (first tenth) to its closing (last quarter), by medians.

    first, last: medians of these. noise: deviation of the closing, from its median absolute deviation.
    gain: (first - last) / max(|first|, |last|). significance: the rank-sum statistic (Mann & Whitney 1947) of opening
    against closing in standard normal units; `certain` is the largest it can be for so few values.
    """

    first: float
    last: float
    noise: float
    gain: float
    significance: float
    certain: float
    steps: int

    @property
    def falling(self) -> bool:
        """A fall of at least 5 % that noise does not explain (three standard deviations, or all values lower)."""
        return self.gain > 0.05 and self.significance > min(3.0, 0.98 * self.certain)

    @property
    def rising(self) -> bool:
        """A rise of at least 5 % that noise does not explain."""
        return self.gain < -0.05 and self.significance < -min(3.0, 0.98 * self.certain)


def trend_of(series: Array) -> Trend | None:
    """The trend of a series, NaN left out; None with fewer than FEWEST values."""
    values = np.asarray(series, "f8")
    values = values[np.isfinite(values)]
    n = len(values)
    if n < FEWEST:
        return None
    opening = values[: min(20, max(3, n // 10))]
    closing = values[-max(3, n // 4) :]
    first, last = float(np.median(opening)), float(np.median(closing))
    wins = (opening[:, None] > closing).mean() + 0.5 * (opening[:, None] == closing).mean()
    a, b = len(opening), len(closing)
    unit = math.sqrt((a + b + 1) / (12 * a * b))
    noise = 1.4826 * float(np.median(np.abs(closing - last)))
    scale = max(abs(first), abs(last), 1e-300)
    return Trend(first, last, noise, (first - last) / scale, (float(wins) - 0.5) / unit, 0.5 / unit, n)


@once
def loss_trend(history: History) -> Trend | None:
    """The trend of the loss up to the first that is not finite."""
    return trend_of(sound(history, history.run("loss")))


def sound(history: History, series: Array) -> Array:
    """The part of a per-step series before the first non-finite loss."""
    bad = np.flatnonzero(history.run("loss_nonfinite") == 1)
    return series[: bad[0]] if len(bad) else series


@once
def first_nonfinite_step(history: History) -> int | None:
    """The first step at which loss, gradient or parameter was not finite."""
    steps = [int(history["step"].steps[i]) for i in np.flatnonzero(history.run("loss_nonfinite") == 1)[:1]]
    norms = history["gradient"].column("gradient_norm")
    used = ~np.isfinite(norms).all(axis=1) & (history.run_at("skipped", "gradient") != 1)
    steps += [int(history["gradient"].steps[i]) for i in np.flatnonzero(used)[:1]]
    bad = history["parameter"].column("nonfinite")
    steps += [int(history["parameter"].steps[i]) for i in np.flatnonzero((bad > 0).any(axis=1))[:1]]
    return min(steps, default=None)


def sound_rows(history: History, table: Table) -> Array:
    """A mask of a table's rows that lie before the first non-finite step."""
    first = first_nonfinite_step(history)
    return np.ones(len(table), bool) if first is None else table.steps < first


def runs_away(history: History, *, replaced: float = 0.1, swollen: float = 10.0) -> bool:
    """Whether the weights themselves show that the run diverges: not finite, replaced by the steps, or swollen.

    replaced: median update over parameter norm of a weight matrix in the last quarter (see oversized-update). swollen:
    norm of all weight matrices at the end over that at the beginning.
    """
    if first_nonfinite_step(history) is not None:
        return True
    table = history["parameter"]
    columns = matrices(table)
    if not columns.any() or len(table) < 2:
        return False
    last = update_ratios(history)[-max(3, len(table) // 4) :, columns]
    norms = np.sqrt(np.nansum(np.square(table.column("parameter_norm")[:, columns].astype("f8")), axis=1))
    longest = float(np.nanmedian(last)) if np.isfinite(last).any() else 0.0
    return longest > replaced or float(norms[-1]) > swollen * float(norms[0]) > 0


def batch_size(history: History) -> float:
    """The usual number of samples in a step; NaN when unknown."""
    sizes = history.run("batch_size")
    seen = sizes[np.isfinite(sizes)]
    return float(np.median(seen)) if len(seen) else math.nan


def observed(norms: Array) -> Array:
    """A mask of the gradient norms that were looked at."""
    return ~(norms == UNOBSERVED)


@once
def update_ratios(history: History) -> Array:
    """Update norm / parameter norm per full step and parameter; NaN where unknown, or for a parameter born zero.

    The norm is the largest so far, so that weights which shrink do not make their updates look large.
    """
    table = history["parameter"]
    updates, norms = table.column("update_norm"), np.fmax.accumulate(table.column("parameter_norm"), axis=0)
    return np.divide(updates, norms, out=np.full(updates.shape, np.nan, "f8"), where=norms > 1e-12)


def share_of(flags: Array) -> float:
    """The mean of the flags that are known; 0 when none is."""
    known = flags[np.isfinite(flags)]
    return float(known.mean()) if len(known) else 0.0


def matrices(table: Table) -> Array:
    """A mask of the parameters that are matrices (two dimensions or more) and are optimized."""
    return np.array([bool(s.traits.get("matrix") and s.traits.get("optimized")) for s in table.subjects], bool)


def first_step(table: Table, mask: Array) -> int | None:
    """The step of the first row in which the mask holds."""
    rows = np.flatnonzero(mask)
    return int(table.steps[rows[0]]) if len(rows) else None


@once
def total_gradient(history: History) -> Array:
    """The norm of all gradients together per step, before clipping where that was seen; shape (steps,)."""
    norms = np.maximum(history["gradient"].column("gradient_norm"), 0)
    total = np.sqrt(np.einsum("ij,ij->i", norms, norms, dtype="f8"))
    before = history.run_at("clip_before", "gradient")
    return np.where(np.isfinite(before), before, total)


def spikes_of(history: History, *, factor: float, settled: int, wide: int) -> tuple[Array, Array]:
    """(rows of the gradient table, ratio) of steps whose gradient is `factor` times the median of the steps around,
    and larger than those the run opened with: a run that has learnt nearly all has next to no gradient, save for the
    last samples that it gets wrong.

    The first `settled` steps are left out, and everything from the first non-finite step on.
    """
    total = total_gradient(history)
    total = total[sound_rows(history, history["gradient"])]
    total = np.where(np.isfinite(total), total, 0)
    around = [total[max(0, i - wide) : i + wide + 1] for i in range(len(total))]
    middles = np.array([np.median(a) for a in around])
    ratio = np.divide(total, middles, out=np.zeros_like(total), where=middles > 0)
    ratio[:settled] = 0
    ratio[total <= 3 * np.median(total[: 2 * settled])] = 0
    rows = np.flatnonzero(ratio >= factor)
    return rows, ratio[rows]


def layers(history: History) -> list[tuple[str, list[int]]]:
    """(module, columns of its matrices in the gradient table) in the order in which modules ran; [] when unknown."""
    table = history["module"]
    order = table.column("order")
    if not len(table):
        return []
    columns: dict[str, list[int]] = {}
    for i, s in enumerate(history["gradient"].subjects):
        if s.traits.get("matrix") and s.traits.get("optimized"):
            columns.setdefault(s.module, []).append(i)
    position = {
        s.name: float(np.nanmin(order[:, i]))
        for i, s in enumerate(table.subjects)
        if s.name in columns and np.isfinite(order[:, i]).any()
    }
    return [(m, columns[m]) for m in sorted(position, key=lambda m: position[m])]


def output_layers(history: History) -> set[str]:
    """The modules whose output entered a loss, or was what a root module returned."""
    found = {s.traits.get("layer", "") for s in history["loss"].subjects}
    ordered = layers(history)
    return found | ({ordered[-1][0]} if ordered else set())
