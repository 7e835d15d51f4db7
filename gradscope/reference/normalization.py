"""Normalization of a signal: over the batch, with moving averages for evaluation, or over the features of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.errors import UsageError
from gradscope.reference.layers import Array, Gradients, Pass, Weights


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """(x - mean) / sqrt(variance + epsilon) x gamma + beta, over all dimensions but the last: Ioffe & Szegedy (2015)
    arXiv:1502.03167.

    In training, mean and biased variance are those of the batch, and the moving ones become momentum x moving + (1 -
    momentum) x batch; in evaluation they are the moving ones. momentum: that of torch is one minus ours. unbiased:
    the moving variance is that of the batch x n / (n - 1), as torch has it; Keras and the paper's training do not.
    A batch with one value per feature is refused in training.
    """

    name: str
    features: int
    epsilon: float = 1e-5
    momentum: float = 0.9
    unbiased: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Gamma and beta."""
        return {"gamma": (self.features,), "beta": (self.features,)}

    def states(self) -> dict[str, Array]:
        """Moving mean and variance: zero and one."""
        return {"moving_mean": np.zeros(self.features, "f4"), "moving_variance": np.ones(self.features, "f4")}

    def forward(self, weights: Weights, given: Array) -> tuple[Array, Any]:
        """Shape of what was given; nothing is remembered."""
        axes = tuple(range(given.ndim - 1))
        return self._standardized(weights, given, given.mean(axes), given.var(axes), fixed=False)

    def run(self, weights: Weights, given: Array, at: Pass) -> tuple[Array, Any]:
        """Shape of what was given. Raises UsageError for one value per feature in training."""
        mean_name, variance_name = f"{self.name}.moving_mean", f"{self.name}.moving_variance"
        kind = given.dtype.type
        if not at.training:
            moving = (at.state[k].astype(given.dtype) for k in (mean_name, variance_name))
            return self._standardized(weights, given, *moving, fixed=True)
        axes = tuple(range(given.ndim - 1))
        count = math.prod(given.shape[:-1])
        if count < 2:
            raise UsageError(
                f"{self.name}: batch normalization needs at least two values per feature in training, got an input of "
                f"shape {given.shape}; give larger batches, or use layer normalization"
            )
        mean, variance = given.mean(axes), given.var(axes)
        held = variance * kind(count / (count - 1)) if self.unbiased else variance
        for name, batch in ((mean_name, mean), (variance_name, held)):
            before = at.state[name].astype(given.dtype)
            at.state[name] = before * kind(self.momentum) + batch * kind(1 - self.momentum)
        return self._standardized(weights, given, mean, variance, fixed=False)

    def _standardized(
        self, weights: Weights, given: Array, mean: Array, variance: Array, *, fixed: bool
    ) -> tuple[Array, Any]:
        scale = 1 / np.sqrt(variance + given.dtype.type(self.epsilon))
        standard = (given - mean) * scale
        return standard * weights["gamma"] + weights["beta"], (standard, scale, fixed)

    def backward(self, weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """dx = gamma / deviation x (dy - mean(dy) - x^ mean(dy x^)); of fixed mean and variance, gamma / deviation x
        dy."""
        standard, scale, fixed = kept
        axes = tuple(range(slope.ndim - 1))
        found = {"gamma": (slope * standard).sum(axes), "beta": slope.sum(axes)}
        inner = slope if fixed else slope - slope.mean(axes) - standard * (slope * standard).mean(axes)
        return weights["gamma"] * scale * inner, found


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """(x - mean) / sqrt(variance + epsilon) x gamma + beta, over the last dimension of each sample: Ba et al. (2016)
    arXiv:1607.06450."""

    name: str
    features: int
    epsilon: float = 1e-5

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Gamma and beta."""
        return {"gamma": (self.features,), "beta": (self.features,)}

    def forward(self, weights: Weights, given: Array) -> tuple[Array, Any]:
        """Shape of what was given."""
        scale = 1 / np.sqrt(given.var(-1, keepdims=True) + given.dtype.type(self.epsilon))
        standard = (given - given.mean(-1, keepdims=True)) * scale
        return standard * weights["gamma"] + weights["beta"], (standard, scale)

    def backward(self, weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """dx = (d - mean(d) - x^ mean(d x^)) / deviation, with d = gamma dy."""
        standard, scale = kept
        axes = tuple(range(slope.ndim - 1))
        found = {"gamma": (slope * standard).sum(axes), "beta": slope.sum(axes)}
        d = slope * weights["gamma"]
        inner = d - d.mean(-1, keepdims=True) - standard * (d * standard).mean(-1, keepdims=True)
        return scale * inner, found
