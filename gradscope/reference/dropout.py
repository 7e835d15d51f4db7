"""Dropout: the one layer that needs chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.reference.layers import Array, Gradients, Pass, Weights


@dataclass(frozen=True, slots=True)
class Dropout:
    """In training each value is zero with probability `rate`, else divided by 1 - rate; in evaluation nothing changes.

    Srivastava et al. (2014), JMLR 15. Its chance is that of the pass.
    """

    name: str
    rate: float = 0.5

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """No weights."""
        return {}

    def states(self) -> dict[str, Array]:
        """No memory."""
        return {}

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """What was given: the mean of what chance would give."""
        return given, None

    def run(self, _weights: Weights, given: Array, at: Pass) -> tuple[Array, Any]:
        """Shape of what was given."""
        if not at.training or not self.rate:
            return given, None
        mask = (at.random.random(given.shape) >= self.rate).astype(given.dtype)
        mask /= given.dtype.type(max(1 - self.rate, np.finfo(given.dtype).tiny))
        return given * mask, mask

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """The slope of what was left."""
        return (slope if kept is None else slope * kept), {}
