"""Materials: remedies that change the batches of a workload, and what is measured of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf
from gradscope.errors import CannotApply
from gradscope.regimen import Settings, first_pair
from gradscope.workload import Workload, pairs

MOST = 1000
"""So many batches are looked at, should they never end."""
Pair = tuple[Any, Any]


def one_pass(workload: Workload, remedy: str) -> list[Pair]:
    """All batches as arrays of the host. Raises CannotApply where inputs or targets are none, or never end."""
    first_pair(workload, remedy)
    found = list(islice(pairs(workload.batches), MOST + 1))
    if len(found) > MOST:
        raise CannotApply(f"{remedy}: there are more than {MOST} batches")
    if not all(isinstance(value, np.ndarray | tf.Tensor) for pair in found for value in pair):
        raise CannotApply(f"{remedy}: inputs and targets must be arrays")
    return [(np.asarray(x), np.asarray(y)) for x, y in found]


def moments(workload: Workload, remedy: str) -> tuple[Any, Any]:
    """(mean, variance) of each feature in the last dimension, over the batches; variances of zero are one. What is not
    finite is left out."""
    x = np.concatenate([x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1) for x, _ in one_pass(workload, remedy)])
    x = np.where(np.isfinite(x), x, np.nan).astype("f8")
    known = np.isfinite(x).any(0)
    mean, variance = np.zeros(x.shape[1]), np.ones(x.shape[1])
    mean[known], variance[known] = np.nanmean(x[:, known], 0), np.nanvar(x[:, known], 0)
    return mean.astype("f4"), np.where(variance > 0, variance, 1.0).astype("f4")


def shuffled(workload: Workload, _settings: Settings) -> Workload:
    """shuffle-data: batches of the same size, drawn anew in each pass from the random stream of numpy."""
    found = one_pass(workload, "shuffle-data")
    try:
        x, y = np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])
    except ValueError as error:
        raise CannotApply(f"shuffle-data: the batches do not join: {error}") from error
    size = len(found[0][0])

    def batches() -> Iterator[Pair]:
        order = np.random.permutation(len(x))
        for start in range(0, len(x), size):
            chosen = order[start : start + size]
            yield tf.constant(x[chosen]), tf.constant(y[chosen])

    return replace(workload, batches=batches)


def cleaned(workload: Workload, _settings: Settings) -> Workload:
    """check-data: the batches without samples that hold NaN or Inf. Raises CannotApply where none does."""
    found = one_pass(workload, "check-data")
    kept = [sound(x) & sound(y) for x, y in found]
    if all(k.all() for k in kept):
        raise CannotApply("check-data: every number of the batches is finite")
    batches = [(tf.constant(x[k]), tf.constant(y[k])) for (x, y), k in zip(found, kept, strict=True) if k.any()]
    return replace(workload, batches=batches)


def sound(values: Any) -> Any:
    """Which samples hold finite numbers alone, shape [N]."""
    return np.isfinite(values).reshape(len(values), -1).all(1)
