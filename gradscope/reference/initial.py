"""Schemes of initialization: from chance and a shape to a kernel, float64. Outputs are the last dimension."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gradscope.reference.layers import Array

Scheme = Callable[[np.random.Generator, tuple[int, ...]], Array]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(inputs of an output, outputs of an input)."""
    return math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]


def he(random: np.random.Generator, shape: tuple[int, ...], gain: float = math.sqrt(2)) -> Array:
    """Normal with deviation gain / sqrt(fan-in): He et al. (2015) arXiv:1502.01852."""
    return random.normal(size=shape) * gain / math.sqrt(fans(shape)[0])


def glorot(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform within sqrt(6 / (fan-in + fan-out)): Glorot & Bengio (2010)."""
    bound = math.sqrt(6 / sum(fans(shape)))
    return random.uniform(-bound, bound, size=shape)


def orthogonal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A matrix (fan-in, outputs) whose shorter side is orthonormal: Saxe et al. (2014) arXiv:1312.6120."""
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    square = random.normal(size=(max(inputs, outputs), min(inputs, outputs)))
    basis, upper = np.linalg.qr(square)
    basis = basis * np.sign(np.diag(upper))  # so that every orthogonal matrix is as likely: Mezzadri (2007)
    return (basis if inputs >= outputs else basis.T).reshape(shape)
