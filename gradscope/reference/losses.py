"""Losses: each gives its value and its gradient for the prediction. Nothing protects them from overflow or log(0): what
is not finite shall be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradscope.reference.layers import Array

Loss = Callable[[Array, Array], tuple[Any, Array]]


def mean_squared_error(prediction: Array, target: Array) -> tuple[Any, Array]:
    """mean((p - t)^2) over all pairs that the shapes give: (N, 1) against (N,) is (N, N)."""
    difference = prediction - target.astype(prediction.dtype)
    slope = 2 * difference / prediction.dtype.type(difference.size)
    while slope.ndim > prediction.ndim:
        slope = slope.sum(0)
    stretched = tuple(i for i, n in enumerate(prediction.shape) if n == 1 < slope.shape[i])
    return np.square(difference).mean(), slope.sum(stretched, keepdims=True)


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Any, Array]:
    """mean(log(sum(exp(z))) - z[label]) over the samples; labels: whole numbers, shape (samples,)."""
    moved = logits - logits.max(-1, keepdims=True)
    total = np.exp(moved).sum(-1, keepdims=True)
    rows = np.arange(len(labels))
    slope = np.exp(moved) / total
    slope[rows, labels] -= 1
    return (np.log(total[:, 0]) - moved[rows, labels]).mean(), slope / logits.dtype.type(len(labels))


def log_loss(probability: Array, target: Array) -> tuple[Any, Array]:
    """-mean(t log(p) + (1 - t) log(1 - p)): NaN as soon as a p is 0 or 1, for 0 x log(0) is NaN."""
    p, t = probability, target.astype(probability.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        slope = ((1 - t) / (1 - p) - t / p) / p.dtype.type(p.size)
    return value, slope


LOSSES: dict[str, Loss] = {
    "mean_squared_error": mean_squared_error,
    "squared_difference": mean_squared_error,
    "softmax_cross_entropy": softmax_cross_entropy,
    "log_loss": log_loss,
}
"""squared_difference and log_loss are those that people write by hand, without a function of their framework."""
