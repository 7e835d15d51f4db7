"""Max-pooling of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.reference.layers import Array, Gradients, Weights


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The largest value of each square of `width` x `width`; squares do not overlap, and what is left at the edges is
    dropped."""

    name: str
    width: int = 2

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """No weights."""
        return {}

    def forward(self, _weights: Weights, given: Array) -> tuple[Array, Any]:
        """Shape (samples, height // width, width // width, channels)."""
        n, height, across, channels = given.shape
        k, rows, columns = self.width, height // self.width, across // self.width
        squares = given[:, : rows * k, : columns * k].reshape(n, rows, k, columns, k, channels)
        squares = squares.transpose(0, 1, 3, 5, 2, 4).reshape(n, rows, columns, channels, k * k)
        first = squares.argmax(-1)[..., None]
        return np.take_along_axis(squares, first, -1)[..., 0], (given.shape, first)

    def backward(self, _weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """All of the slope goes to the first of the largest values."""
        shape, first = kept
        k, (n, rows, columns, channels) = self.width, slope.shape
        squares = np.zeros((n, rows, columns, channels, k * k), slope.dtype)
        np.put_along_axis(squares, first, slope[..., None], -1)
        squares = squares.reshape(n, rows, columns, channels, k, k).transpose(0, 1, 4, 2, 5, 3)
        back = np.zeros(shape, slope.dtype)
        back[:, : rows * k, : columns * k] = squares.reshape(n, rows * k, columns * k, channels)
        return back, {}
