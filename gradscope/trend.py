"""Reading a history: whether the loss falls, how it compares with a constant prediction, which steps are sound.

Everything here is dimensionless: the loss times a million gives the same answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.history import UNOBSERVED, History, Subject, Table

Array = Any

FEWEST = 10
"""Fewer losses than this have no trend."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series moved from its opening (first tenth) to its closing (last quarter).

    first, last: means of these. best: smallest mean over a closing-sized window. noise: deviation of the closing.
    gain: (first - last) / max(|first|, |last|). significance: the same difference in standard errors.
    """

    first: float
    last: float
    best: float
    noise: float
    gain: float
    significance: float
    steps: int

    @property
    def falling(self) -> bool:
        """A fall of at least 5 % that noise does not explain (three standard errors)."""
        return self.gain > 0.05 and self.significance > 3

    @property
    def rising(self) -> bool:
        """A rise of at least 5 % that noise does not explain."""
        return self.gain < -0.05 and self.significance < -3


def trend_of(series: Array) -> Trend | None:
    """The trend of a series, NaN left out; None with fewer than FEWEST values."""
    values = np.asarray(series, "f8")
    values = values[np.isfinite(values)]
    n = len(values)
    if n < FEWEST:
        return None
    opening = values[: min(20, max(3, n // 10))]
    closing = values[-max(3, n // 4) :]
    first, last = float(opening.mean()), float(closing.mean())
    size = len(closing)
    sums = np.convolve(values, np.ones(size) / size, "valid")
    noise = float(closing.std())
    error = math.sqrt(opening.var() / len(opening) + closing.var() / size) + 1e-300
    scale = max(abs(first), abs(last), 1e-300)
    return Trend(first, last, float(sums.min()), noise, (first - last) / scale, (first - last) / error, n)


def loss_trend(history: History) -> Trend | None:
    """The trend of the loss up to the first that is not finite."""
    return trend_of(sound(history, history.run("loss")))


def sound(history: History, series: Array) -> Array:
    """The part of a per-step series before the first non-finite loss."""
    bad = np.flatnonzero(history.run("loss_nonfinite") == 1)
    return series[: bad[0]] if len(bad) else series


def first_nonfinite_step(history: History) -> int | None:
    """The first step at which loss, gradient or parameter was not finite."""
    steps = [int(history["step"].steps[i]) for i in np.flatnonzero(history.run("loss_nonfinite") == 1)[:1]]
    norms = history["gradient"].column("gradient_norm")
    skipped = history.run("skipped") == 1
    for i in np.flatnonzero(~np.isfinite(norms).all(axis=1)):
        if i < len(skipped) and not skipped[i]:
            steps.append(int(history["gradient"].steps[i]))
            break
    bad = history["parameter"].column("nonfinite")
    steps += [int(history["parameter"].steps[i]) for i in np.flatnonzero((bad > 0).any(axis=1))[:1]]
    return min(steps, default=None)


def sound_rows(history: History, table: Table) -> Array:
    """A mask of a table's rows that lie before the first non-finite step."""
    first = first_nonfinite_step(history)
    return np.ones(len(table), bool) if first is None else table.steps < first


@dataclass(frozen=True, slots=True)
class Fit:
    """The error of a prediction as a multiple of that of the best constant prediction.

    1 is no better than the constant, 0 is perfect. opening and closing as in Trend; site: the loss call it is from.
    """

    opening: float
    closing: float
    error: float
    site: Subject
    baseline: float

    @property
    def no_better(self) -> bool:
        """At the end no better than a constant, within 5 %, and not worse by more than a half."""
        return 0.95 <= self.closing <= 1.5


def main_site(history: History) -> Subject | None:
    """The loss call that was seen most often with a target; None when no loss call was understood."""
    table = history["loss"]
    counts = np.isfinite(table.column("target_elements")).sum(axis=0)
    counts = counts * [not s.traits.get("target_carries_gradient", False) for s in table.subjects]
    return table.subjects[int(counts.argmax())] if len(counts) and counts.max() >= FEWEST else None


def fit_of(history: History) -> Fit | None:
    """How much better than a constant the prediction is, from ranges seen at the loss; None when that is not known."""
    site = main_site(history)
    if site is None:
        return None
    table = history["loss"]
    counts = history.classes.get(site.name)
    if counts is not None:
        share = counts[counts > 0] / counts.sum()
        baseline = float(-(share * np.log(share)).sum())
        errors = table.series("value", site.name)
        if site.traits.get("reduction") == "sum":
            errors = errors / table.series("target_elements", site.name)
    else:
        means, deviations = (table.series(q, site.name) for q in ("target_mean", "target_deviation"))
        baseline = float(np.nanmean(deviations**2) + np.nanvar(means)) if np.isfinite(means).any() else math.nan
        errors = table.series("prediction_sum_error", site.name)
    seen = errors[np.isfinite(errors)]
    if len(seen) < FEWEST or not baseline > 0:
        return None
    trend = trend_of(seen)
    if trend is None:
        return None
    return Fit(trend.first / baseline, trend.last / baseline, trend.last, site, baseline)


def learns(history: History) -> bool | None:
    """Whether the training makes progress: the loss falls, or beats a constant prediction clearly. None: unknown,
    as it is for objectives that compete (a GAN's losses measure no progress)."""
    if history.facts.get("competing"):
        return None
    trend, fit = loss_trend(history), fit_of(history)
    if trend is None and fit is None:
        return None
    if fit is not None and fit.closing < 0.8:
        return True
    if fit is not None and fit.closing >= 0.95:
        return False
    return trend is not None and trend.falling


def batch_size(history: History) -> float:
    """The usual number of samples in a step; NaN when unknown."""
    sizes = history.run("batch_size")
    seen = sizes[np.isfinite(sizes)]
    return float(np.median(seen)) if len(seen) else math.nan


def observed(norms: Array) -> Array:
    """A mask of the gradient norms that were looked at."""
    return ~(norms == UNOBSERVED)


def update_ratios(history: History) -> Array:
    """Update norm / parameter norm per full step and parameter; NaN where unknown, or for a parameter born zero."""
    table = history["parameter"]
    updates, norms = table.column("update_norm"), table.column("parameter_norm")
    return np.divide(updates, norms, out=np.full(updates.shape, np.nan, "f8"), where=norms > 1e-12)


def matrices(table: Table) -> Array:
    """A mask of the parameters that are matrices (two dimensions or more) and are optimized."""
    return np.array([bool(s.traits.get("matrix") and s.traits.get("optimized")) for s in table.subjects], bool)


def first_step(table: Table, mask: Array) -> int | None:
    """The step of the first row in which the mask holds."""
    rows = np.flatnonzero(mask)
    return int(table.steps[rows[0]]) if len(rows) else None


def total_gradient(history: History) -> Array:
    """The norm of all gradients together per step, before clipping where that was seen; shape (steps,)."""
    norms = history["gradient"].column("gradient_norm").astype("f8")
    total = np.sqrt(np.square(np.where(norms < 0, 0, norms)).sum(axis=1))
    before = history.run("clip_before")
    if len(before) == len(total):
        total = np.where(np.isfinite(before), before, total)
    return total


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
