"""Layers: what each of them computes, forward and backward. They hold names and sizes; weights are handed to them.

Images are (samples, height, width, channels), kernels of a convolution (height, width, inputs, outputs), those of a
dense layer (inputs, outputs). Every array keeps the precision of what is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = Mapping[str, Array]
"""The weights of one layer by their short names: kernel, bias, gamma, beta."""
Gradients = dict[str, Array]


class Layer(Protocol):
    """A step of a network. `kept` is whatever forward() wants to find again in backward()."""

    @property
    def name(self) -> str:
        """Leads the names of its weights."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight, by short name."""

    def forward(self, weights: Weights, given: Array) -> tuple[Array, Any]:
        """(output, kept)."""

    def backward(self, weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """(gradient of what was given, gradients of the weights), from the gradient of the output."""


@dataclass(slots=True)
class Pass:
    """What a pass through a network knows beside its weights.

    training: the mode, else evaluation. state: what layers remember from pass to pass, as "layer.name"; they write it.
    random: where chance comes from.
    """

    training: bool
    state: dict[str, Array] = field(default_factory=dict)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))


@runtime_checkable
class Moded(Protocol):
    """A layer that does otherwise in evaluation than in training. Its plain forward() stands for training without
    memory and without chance."""

    name: str

    def states(self) -> dict[str, Array]:
        """What it remembers, at the beginning, by short name."""

    def run(self, weights: Weights, given: Array, at: Pass) -> tuple[Array, Any]:
        """(output, kept) in the mode of the pass, whose state is brought up to date."""


@dataclass(frozen=True, slots=True)
class Dense:
    """x W + b."""

    name: str
    inputs: int
    outputs: int
    bias: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Kernel and bias."""
        kernel = {"kernel": (self.inputs, self.outputs)}
        return kernel | ({"bias": (self.outputs,)} if self.bias else {})

    def forward(self, weights: Weights, given: Array) -> tuple[Array, Any]:
        """Shape (samples, outputs)."""
        out = given @ weights["kernel"]
        return (out + weights["bias"] if self.bias else out), given

    def backward(self, weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """dW = x' dy, db = sum over samples of dy, dx = dy W'."""
        found = {"kernel": kept.T @ slope}
        if self.bias:
            found["bias"] = slope.sum(0)
        return slope @ weights["kernel"].T, found


@dataclass(frozen=True, slots=True)
class Conv:
    """A two-dimensional convolution without padding, stride one."""

    name: str
    inputs: int
    outputs: int
    width: int = 3
    bias: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Kernel and bias."""
        kernel = {"kernel": (self.width, self.width, self.inputs, self.outputs)}
        return kernel | ({"bias": (self.outputs,)} if self.bias else {})

    def forward(self, weights: Weights, given: Array) -> tuple[Array, Any]:
        """Shape (samples, height - width + 1, width - width + 1, outputs)."""
        windows = sliding_window_view(given, (self.width, self.width), axis=(1, 2))  # n, h, w, channel, row, column
        out = np.tensordot(windows, weights["kernel"], axes=((4, 5, 3), (0, 1, 2)))
        return (out + weights["bias"] if self.bias else out), (given.shape, windows)

    def backward(self, weights: Weights, kept: Any, slope: Array) -> tuple[Array, Gradients]:
        """The kernel meets every window, and every window gets its part back."""
        shape, windows = kept
        found = {"kernel": np.tensordot(windows, slope, axes=((0, 1, 2), (0, 1, 2))).transpose(1, 2, 0, 3)}
        if self.bias:
            found["bias"] = slope.sum((0, 1, 2))
        back = np.zeros(shape, slope.dtype)
        rows, columns = slope.shape[1:3]
        for i in range(self.width):
            for j in range(self.width):
                back[:, i : i + rows, j : j + columns] += slope @ weights["kernel"][i, j].T
        return back, found
