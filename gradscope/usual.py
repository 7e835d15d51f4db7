"""What is usual in the sound part of a run: the numbers that remedies are made of."""

from __future__ import annotations

import math

import numpy as np

from gradscope.history import History
from gradscope.trend import matrices, sound_rows, total_gradient, update_ratios

WANTED_RATIO = 0.01
"""Update norm / parameter norm of a brisk but sound step."""


def usual_rate(history: History) -> float | None:
    """The median learning rate; None when it is unknown or zero."""
    rates = history.run("learning_rate")
    seen = rates[np.isfinite(rates)]
    rate = float(np.median(seen)) if len(seen) else 0.0
    return rate or None


def usual_gradient(history: History) -> float | None:
    """The median gradient norm before clipping, of steps whose gradient is finite; None when there is none."""
    total = total_gradient(history)
    seen = total[np.isfinite(total) & (total > 0)]
    return float(np.median(seen)) if len(seen) else None


def largest_ratio(history: History) -> float | None:
    """The largest median update ratio (over weight matrices) of the sound part of the run; None when unknown."""
    table = history["parameter"]
    columns, rows = matrices(table), sound_rows(history, table)
    if not columns.any() or not rows.any():
        return None
    ratios = update_ratios(history)[rows][:, columns]
    known = ratios[np.isfinite(ratios).any(axis=1)]
    return float(np.nanmax(np.nanmedian(known, axis=1))) if len(known) else None


def rounded(value: float) -> float:
    """The value to one significant digit: 1, 2 or 5 times a power of ten."""
    if not value > 0 or not math.isfinite(value):
        return value
    power = 10.0 ** math.floor(math.log10(value))
    nearest = min((1, 2, 5, 10), key=lambda k: abs(k - value / power))
    return float(f"{nearest * power:.1g}")
