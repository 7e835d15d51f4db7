"""Layers without weights: activations and the flattening of images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.reference.layers import Array, Gradients, Weights

ERF: Any = np.frompyfunc(math.erf, 1, 1)
"""numpy has none of its own."""


@dataclass(frozen=True, slots=True)
class Weightless:
    """What layers without weights have in common."""

    name: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """No weights."""
        return {}


@dataclass(frozen=True, slots=True)
class ReLU(Weightless):
    """max(x, 0); slope 0 at 0."""

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """NaN stays NaN."""
        out = np.maximum(given, 0)
        return out, out

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """The slope where the output is above zero."""
        return np.where(kept > 0, slope, slope.dtype.type(0)), {}


@dataclass(frozen=True, slots=True)
class LeakyReLU(Weightless):
    """x above zero, `leak` x below: Maas et al. (2013)."""

    leak: float = 0.01

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """NaN stays NaN."""
        return np.where(given > 0, given, given * given.dtype.type(self.leak)), given

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """1 above zero, `leak` elsewhere."""
        return np.where(kept > 0, slope, slope * slope.dtype.type(self.leak)), {}


@dataclass(frozen=True, slots=True)
class ELU(Weightless):
    """x above zero, alpha (exp(x) - 1) below: Clevert et al. (2016) arXiv:1511.07289."""

    alpha: float = 1.0

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """exp() sees no positive number, so that it cannot overflow."""
        out = np.where(given > 0, given, np.expm1(np.minimum(given, 0)) * given.dtype.type(self.alpha))
        return out, (given, out)

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """1 above zero, y + alpha below."""
        given, out = kept
        return np.where(given > 0, slope, slope * (out + slope.dtype.type(self.alpha))), {}


@dataclass(frozen=True, slots=True)
class GELU(Weightless):
    """x (1 + erf(x / sqrt(2))) / 2, exactly: Hendrycks & Gimpel (2016) arXiv:1606.08415."""

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """NaN stays NaN."""
        share = (1 + ERF(given.astype("f8") / math.sqrt(2)).astype("f8")) / 2
        return given * share.astype(given.dtype), (given, share)

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """Phi(x) + x phi(x), of the standard normal distribution."""
        given, share = kept
        density = np.exp(-np.square(given, dtype="f8") / 2) / math.sqrt(2 * math.pi)
        return slope * (share + given * density).astype(slope.dtype), {}


@dataclass(frozen=True, slots=True)
class Sigmoid(Weightless):
    """1 / (1 + exp(-x))."""

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """exp() overflows to Inf for very negative x, which gives the 0 that is meant."""
        with np.errstate(over="ignore"):
            out = 1 / (1 + np.exp(-given))
        return out, out

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """y (1 - y)."""
        return slope * kept * (1 - kept), {}


@dataclass(frozen=True, slots=True)
class Tanh(Weightless):
    """tanh(x)."""

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """Between -1 and 1."""
        out = np.tanh(given)
        return out, out

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """1 - y^2."""
        return slope * (1 - np.square(kept)), {}


@dataclass(frozen=True, slots=True)
class Softmax(Weightless):
    """exp(x) / sum(exp(x)) over the last dimension."""

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """The largest entry is taken off first, so that nothing overflows."""
        powers = np.exp(given - given.max(-1, keepdims=True))
        out = powers / powers.sum(-1, keepdims=True)
        return out, out

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """y (dy - sum(dy y))."""
        return kept * (slope - (slope * kept).sum(-1, keepdims=True)), {}


@dataclass(frozen=True, slots=True)
class Flatten(Weightless):
    """(samples, ...) to (samples, everything else)."""

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """Rows first, channels last."""
        return given.reshape(len(given), math.prod(given.shape[1:])), given.shape

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """The shape from before."""
        return slope.reshape(kept), {}
