"""Plans: everything that a training needs, as data, so that each framework can build it in its own way; and the two
sound ones, on which all frameworks must agree number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gradscope.reference.activations import Flatten, ReLU, Tanh
from gradscope.reference.layers import Array, Conv, Dense
from gradscope.reference.losses import LOSSES
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.optimizers import SGD, Adam, Optimizer
from gradscope.reference.trainer import Step, steps

DECAYS = 7 / 8, 63 / 64
"""Adam's: short binary fractions, whose powers are the same in every precision (see Adam)."""

Batches = tuple[tuple[Array, Array], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A network, its initial weights, its loss (a name of LOSSES), an optimizer ("SGD" or "Adam"), and the batches.

    limit: norm to which all gradients together are clipped; None for no clipping.
    """

    name: str
    network: Network
    weights: Mapping[str, Array]
    loss: str
    optimizer: str
    rate: float
    batches: Batches
    limit: float | None = None

    def solver(self, *, hat: bool = False) -> Optimizer:
        """The optimizer, afresh. hat: Adam in the form with epsilon-hat."""
        return SGD(self.rate) if self.optimizer == "SGD" else Adam(self.rate, *DECAYS, hat=hat)

    def steps(self, *, hat: bool = False, dtype: str = "f4") -> Iterator[Step]:
        """The training itself."""
        loss, solver = LOSSES[self.loss], self.solver(hat=hat)
        return steps(self.network, self.weights, loss, solver, self.batches, limit=self.limit, dtype=dtype)


def regression(seed: int, count: int, size: int, features: int) -> Batches:
    """Standard normal inputs, and a target of mean one that is linear in them, shape (size, 1); float32."""
    random = np.random.default_rng(seed)
    line = random.normal(size=(features, 1)) / np.sqrt(features)
    given = [random.normal(size=(size, features)).astype("f4") for _ in range(count)]
    return tuple((x, (x @ line + 1).astype("f4")) for x in given)


def images(seed: int, count: int, size: int, width: int) -> Batches:
    """Noise with a bright patch in one of four corners, shape (size, width, width, 1), and the corner; int32."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        labels = random.integers(0, 4, size).astype("i4")
        x = random.normal(size=(size, width, width, 1)) * 0.5
        half = width // 2
        for image, label in zip(x, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 1.0
        found.append((x.astype("f4"), labels))
    return tuple(found)


def perceptron(optimizer: str, rate: float, count: int = 10) -> Plan:
    """A regression with two hidden layers and batch normalization.

    The layers before a normalization have no bias: its gradient is exactly zero, and what float32 leaves of it is
    rounding, in which no two frameworks agree.
    """
    network = Network(
        (
            Dense("dense1", 8, 32, bias=False),
            BatchNorm("norm1", 32),
            ReLU("relu1"),
            Dense("dense2", 32, 16),
            Tanh("tanh2"),
            Dense("dense3", 16, 1),
        )
    )
    batches = regression(1, count, 32, 8)
    return Plan("perceptron", network, network.initial(4), "mean_squared_error", optimizer, rate, batches)


def convnet(optimizer: str, rate: float, count: int = 10) -> Plan:
    """A classification of small images with two convolutions, the first of them normalized."""
    network = Network(
        (
            Conv("conv1", 1, 4, bias=False),
            BatchNorm("norm1", 4),
            ReLU("relu1"),
            Conv("conv2", 4, 6),
            ReLU("relu2"),
            Flatten("flatten"),
            Dense("dense3", 6 * 4 * 4, 4),
        )
    )
    batches = images(2, count, 16, 8)
    return Plan("convnet", network, network.initial(10), "softmax_cross_entropy", optimizer, rate, batches)
