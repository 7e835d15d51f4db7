"""The quantities, their formulas, and their reduction in numpy: the oracle that every adapter is held to.

All sums run in float64. What is not finite is counted, never dropped; a norm is NaN or Inf only when its array holds
such a value, however large or small the rest is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def magnitudes(values: ArrayLike) -> Array:
    """|x| of every entry, flat, float64."""
    given = np.asarray(values)
    if given.dtype.kind in "iub":  # the smallest integer has no positive counterpart of its own type
        given = given.astype("f8")
    sizes: Array = np.abs(given).astype("f8", copy=False).ravel()
    return sizes


def l2_norm(values: ArrayLike) -> float:
    """sqrt(sum(x^2)), scaled by max|x| so that it neither overflows nor underflows; 0 for an empty array."""
    a = magnitudes(values)
    if not a.size:
        return 0.0
    top = float(a.max())
    if not np.isfinite(top) or top == 0:
        return top
    return top * float(np.sqrt(np.square(a / top).sum()))


def zero_fraction(values: ArrayLike) -> float:
    """Share of entries that are exactly zero; 0 for an empty array."""
    a = magnitudes(values)
    return float((a == 0).mean()) if a.size else 0.0


def abs_max(values: ArrayLike) -> float:
    """max|x| over the finite entries; 0 when there is none."""
    a = magnitudes(values)
    return float(np.max(a, initial=0.0, where=np.isfinite(a)))


def underflow_fraction(values: ArrayLike) -> float:
    """Share of entries that are not zero but under the smallest normal number of the array's dtype."""
    given = np.asarray(values)
    a = magnitudes(given)
    kind = np.dtype("f4") if given.dtype.name == "bfloat16" else given.dtype  # it has the exponents of float32
    if not a.size or not np.issubdtype(kind, np.floating):
        return 0.0
    return float(((a > 0) & (a < np.finfo(kind).tiny)).mean())


def nonfinite_count(values: ArrayLike) -> int:
    """How many entries are NaN or Inf."""
    return int((~np.isfinite(magnitudes(values))).sum())


def deviation(values: ArrayLike) -> float:
    """sqrt(mean((x - mean)^2)); 0 for fewer than two entries."""
    a = np.asarray(values, "f8").ravel()
    if a.size < 2:
        return 0.0
    top = float(np.abs(a).max())
    with np.errstate(invalid="ignore"):  # Inf, whose deviation is NaN
        return top * float((a / top).std()) if 0 < top < math.inf else float(a.std())


def parameter_change(before: ArrayLike, after: ArrayLike) -> tuple[float, float]:
    """(l2 norm of after - before, share of entries that changed)."""
    old, new = np.asarray(before, "f8"), np.asarray(after, "f8")
    moved = new != old
    with np.errstate(all="ignore"):  # Inf - Inf is NaN
        change = new - old
    return l2_norm(change), float(moved.mean()) if moved.size else 0.0


# -- what a forward pass shows -----------------------------------------------------------------------------------------

MODULE_STATISTICS = (
    "output_mean_square",
    "input_mean_square",
    "zero_fraction",
    "batch_variation",
    "output_nonfinite",
    "input_nonfinite",
)


def output_statistics(output: ArrayLike, given: ArrayLike | None) -> Array:
    """MODULE_STATISTICS of one module call, shape (6,); batch_variation is the variance over the batch as a share of
    the mean square, NaN for a batch of one."""
    with np.errstate(all="ignore"):
        out = np.asarray(output, "f4")
        square = float(np.square(out, dtype="f8").mean())
        variation = math.nan
        if out.ndim > 1 and out.shape[0] > 1:
            variation = float(out.var(axis=0, dtype="f8").mean()) / max(square, 1e-30)
        in_square, in_bad = math.nan, 0
        if given is not None:
            values = np.asarray(given, "f4")
            in_square = float(np.square(values, dtype="f8").mean()) if values.size else math.nan
            in_bad = nonfinite_count(values)
    return np.array([square, in_square, zero_fraction(out), variation, nonfinite_count(out), in_bad])


def inactive_units(output: ArrayLike) -> tuple[Array, int]:
    """(for each unit, the last dimension, whether it is zero for all samples; how many samples there were)."""
    out = np.asarray(output)
    units = out.reshape(-1, out.shape[-1])
    return (units == 0).all(axis=0), len(units)


def saturated_fraction(output: ArrayLike, operation: str) -> float:
    """Share of values at the ends, where the slope is under 2 % of its largest: |tanh| > 0.99, sigmoid out of
    [0.005, 0.995]."""
    out = np.asarray(output)
    if operation == "tanh":
        return float((np.abs(out) > 0.99).mean())
    return float(((out < 0.005) | (out > 0.995)).mean())


def data_statistics(data: ArrayLike) -> Array:
    """(mean, deviation, largest magnitude, largest / median feature size, index of it, non-finite count), shape (6,).

    A feature is the last dimension, its size the root mean square. The ratio is NaN with fewer than two features.
    """
    values = np.asarray(data, "f8")
    finite = np.isfinite(values)
    bad = int((~finite).sum())
    values = np.where(finite, values, 0)
    ratio = largest = math.nan
    with np.errstate(all="ignore"):
        if values.ndim > 1 and values.shape[-1] > 1:
            sizes = np.sqrt(np.square(values.reshape(-1, values.shape[-1])).mean(0))
            present = sizes[sizes > 0]
            if present.size > 1:
                ratio, largest = float(sizes.max() / np.median(present)), int(sizes.argmax())
        return np.array([values.mean(), values.std(), np.abs(values).max(initial=0), ratio, largest, bad])


def spread(values: ArrayLike) -> Array:
    """(mean, deviation, min, max), shape (4,); NaN for an empty array."""
    a = np.asarray(values, "f8")
    with np.errstate(all="ignore"):
        return np.array([a.mean(), a.std(), a.min(), a.max()]) if a.size else np.full(4, math.nan)


def probability_margin(values: ArrayLike) -> float:
    """How far rows, the last dimension, are from probabilities: largest |sum - 1|; Inf for a value outside [0, 1]."""
    a = np.asarray(values, "f8")
    if a.min() < 0 or a.max() > 1 + 1e-6:
        return math.inf
    return float(np.abs(a.sum(-1) - 1).max())


def sample(arrays: Iterable[ArrayLike], most: int = 16384) -> Array:
    """One vector with at most `most` evenly spaced entries of each array: enough for a direction."""
    parts = []
    for array in arrays:
        with np.errstate(over="ignore"):
            flat = np.asarray(array, "f4").ravel()
        parts.append(flat[:: max(1, flat.size // most)])
    return np.concatenate(parts) if parts else np.empty(0, "f4")


def cosine(a: Array, b: Array) -> float:
    """Cosine of the angle between two vectors; NaN when one is zero or they do not match."""
    if a.shape != b.shape or not a.size:
        return math.nan
    scale = l2_norm(a) * l2_norm(b)
    with np.errstate(all="ignore"):  # Inf x 0, and Inf / Inf
        return float(np.dot(a.astype("f8"), b.astype("f8")) / scale) if scale else math.nan
