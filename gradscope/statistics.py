"""The quantities, their formulas, and their reduction in numpy: the oracle that every adapter is held to.

All sums run in float64. What is not finite is counted, never dropped; a norm is NaN or Inf only when its array holds
such a value, however large or small the rest is.
"""

from __future__ import annotations

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
    if not a.size or not np.issubdtype(given.dtype, np.floating):
        return 0.0
    return float(((a > 0) & (a < np.finfo(given.dtype).tiny)).mean())


def nonfinite_count(values: ArrayLike) -> int:
    """How many entries are NaN or Inf."""
    return int((~np.isfinite(magnitudes(values))).sum())


def deviation(values: ArrayLike) -> float:
    """sqrt(mean((x - mean)^2)); 0 for fewer than two entries."""
    a = np.asarray(values, "f8").ravel()
    return float(a.std()) if a.size > 1 else 0.0


def parameter_change(before: ArrayLike, after: ArrayLike) -> tuple[float, float]:
    """(l2 norm of after - before, share of entries that changed)."""
    old, new = np.asarray(before, "f8"), np.asarray(after, "f8")
    moved = new != old
    return l2_norm(new - old), float(moved.mean()) if moved.size else 0.0
