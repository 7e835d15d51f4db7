"""Optimizers: from weights and gradients to the weights after the step. They hold their own moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gradscope.reference.layers import Array
from gradscope.statistics import l2_norm

Named = Mapping[str, Array]


class Optimizer(Protocol):
    """What steps."""

    rate: float

    def step(self, weights: Named, gradients: Named) -> dict[str, Array]:
        """The weights after one step; what is given is left as it is."""


@dataclass(slots=True)
class SGD:
    """w - rate x v, with v = momentum x v + g, so that a rate that changes acts on all of v at once: as torch has it.
    Keras and MXNet keep rate x v, which is the same while the rate is."""

    rate: float
    momentum: float = 0.0
    velocity: dict[str, Array] = field(default_factory=dict)

    def step(self, weights: Named, gradients: Named) -> dict[str, Array]:
        """One step."""
        if self.momentum:
            kept = self.velocity
            self.velocity = {k: kept[k] * g.dtype.type(self.momentum) + g if kept else g for k, g in gradients.items()}
            gradients = self.velocity
        return {k: w - w.dtype.type(self.rate) * gradients[k] for k, w in weights.items()}


@dataclass(slots=True)
class Adam:
    """Kingma & Ba (2015) arXiv:1412.6980.

    Where epsilon stands makes two forms of it. Algorithm 1, which torch and optax follow: w - rate x m^ / (sqrt(v^) +
    epsilon), with m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t). The form with epsilon-hat, from the end of section 2,
    which Keras and MXNet follow: w - rate x sqrt(1 - b2^t) / (1 - b1^t) x m / (sqrt(v) + epsilon). The second is the
    first with an epsilon that is 1 / sqrt(1 - b2^t) times as large: 32 times in the first step.

    The powers b^t are formed in float64. Keras and optax form them in float32, where 1 - 0.999^t has a relative error
    of up to 3e-5 in the first steps, and the step half of it; decays that are short binary fractions, as 63/64, lose
    next to nothing.
    """

    rate: float = 1e-3
    first: float = 0.9
    second: float = 0.999
    epsilon: float = 1e-8
    hat: bool = False
    steps: int = 0
    means: dict[str, Array] = field(default_factory=dict)
    squares: dict[str, Array] = field(default_factory=dict)

    def step(self, weights: Named, gradients: Named) -> dict[str, Array]:
        """One step."""
        self.steps += 1
        low, high = 1 - self.first**self.steps, 1 - self.second**self.steps
        epsilon = self.epsilon / np.sqrt(high) if self.hat else self.epsilon
        found = {}
        for name, w in weights.items():
            kind, g = w.dtype.type, gradients[name]
            mean = self.means.get(name, np.zeros_like(w)) * kind(self.first) + g * kind(1 - self.first)
            square = self.squares.get(name, np.zeros_like(w)) * kind(self.second) + np.square(g) * kind(1 - self.second)
            self.means[name], self.squares[name] = mean, square
            size = np.sqrt(square) / kind(np.sqrt(high)) + kind(epsilon)
            found[name] = w - kind(self.rate / low) * mean / size
        return found


def clip_norm(gradients: Named, limit: float) -> dict[str, Array]:
    """The gradients, scaled so that their norm together is no more than the limit (Pascanu et al. 2013)."""
    total = float(np.hypot.reduce([l2_norm(g) for g in gradients.values()]))
    factor = min(1.0, limit / total) if total > 0 else 1.0
    return {k: g * g.dtype.type(factor) for k, g in gradients.items()}
