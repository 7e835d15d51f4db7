"""Metrics: what a history holds of its steps, as the few numbers that people chart. Nothing is measured here.

grad_norm_total: L2 norm of all gradients together, before clipping where that was seen, and
grad_norm_clipped: after it, as the optimizer used them, where there is a limit.
update_ratio_max: the largest update norm / parameter norm of a weight matrix, in steps with full statistics.
loss_scale: that of mixed precision, where there is one.
Of each parameter, on request: grad_norm/NAME and update_ratio/NAME.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.history import History
from gradscope.report import Report
from gradscope.verdict import Severity

EVERY = 100
"""Verdicts are counted after so many steps, and more rarely the longer a run is."""


@dataclass(frozen=True, slots=True)
class Point:
    """The metrics of one step, by key. NaN and Inf are told as they are; what is unknown has no key."""

    step: int
    values: dict[str, float]


def points_after(history: History, step: int, *, each: bool = False) -> list[Point]:
    """One point per row after a step, in their order. each: those of every parameter too."""
    steps = history["step"].steps
    return [
        Point(int(s), metrics_of(history, int(s), each=each)) for s in steps[np.searchsorted(steps, step, "right") :]
    ]


def metrics_of(history: History, step: int, *, each: bool = False) -> dict[str, float]:
    """The metrics of one step that was recorded."""
    before, limit, scale = (_run(history, q, step) for q in ("clip_before", "clip_limit", "loss_scale"))
    values: dict[str, float] = {}
    norms = _cells(history, "gradient", "gradient_norm", step)
    seen = ~(norms < 0)  # neither MISSING nor UNOBSERVED; NaN is a norm
    if seen.any():
        total = float(np.sqrt(np.square(norms[seen]).sum()))
        values["grad_norm_total"] = total if math.isnan(before) else before
        values |= {"grad_norm_clipped": total} if math.isfinite(limit) else {}
    if not math.isnan(scale):
        values["loss_scale"] = scale
    ratios = _ratios(history, step)
    subjects = history["parameter"].subjects
    matrices = [i for i in range(len(ratios)) if subjects[i].traits.get("matrix") and not math.isnan(ratios[i])]
    if matrices:
        values["update_ratio_max"] = float(ratios[matrices].max())
    if each:
        values |= _named("grad_norm", history["gradient"].subjects, norms, seen)
        values |= _named("update_ratio", subjects, ratios, ~np.isnan(ratios))
    return values


def largest(points: Iterable[Point]) -> dict[str, float]:
    """The largest value of each key, NaN where one of them is: an accident shows, however many steps share a point."""
    together: dict[str, list[float]] = {}
    for point in points:
        for key, value in point.values.items():
            together.setdefault(key, []).append(value)
    return {key: float(np.max(values)) for key, values in together.items()}


def counted(report: Report) -> dict[str, float]:
    """How many errors and warnings a report tells."""
    found = [v.severity for v in report.verdicts]
    return {"errors": float(found.count(Severity.ERROR)), "warnings": float(found.count(Severity.WARNING))}


def next_count(steps: int, every: int = EVERY) -> int:
    """After how many steps verdicts are counted next: judging takes longer the longer a run is."""
    return steps + max(every, steps // 10)


def _row(history: History, table: str, step: int) -> int | None:
    steps = history[table].steps
    at = int(np.searchsorted(steps, step))
    return at if at < len(steps) and steps[at] == step else None


def _cells(history: History, table: str, quantity: str, step: int) -> NDArray[Any]:
    """What a row holds, float64; nothing where there is no such row."""
    at = _row(history, table, step)
    return np.empty(0) if at is None else history[table].column(quantity)[at].astype("f8")


def _run(history: History, quantity: str, step: int) -> float:
    return next(iter(_cells(history, "step", quantity, step).tolist()), math.nan)


def _ratios(history: History, step: int) -> NDArray[Any]:
    """Update norm / parameter norm of each parameter; NaN where it is unknown, or the parameter was zero."""
    updates, norms = (_cells(history, "parameter", q, step) for q in ("update_norm", "parameter_norm"))
    ratios: NDArray[Any] = np.divide(updates, norms, out=np.full(updates.shape, math.nan), where=norms > 1e-12)
    return ratios


def _named(key: str, subjects: Any, values: NDArray[Any], known: NDArray[Any]) -> dict[str, float]:
    return {f"{key}/{s.name}": float(v) for s, v, k in zip(subjects, values, known, strict=False) if k}
