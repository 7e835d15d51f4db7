"""Demonstrations: sick trainings of the reference that are small enough to be healed while one watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.reference.activations import ReLU, Sigmoid
from gradscope.reference.layers import Array, Dense, Layer
from gradscope.reference.losses import Loss, mean_squared_error, softmax_cross_entropy
from gradscope.reference.model import Model
from gradscope.reference.network import Network
from gradscope.reference.optimizers import SGD
from gradscope.reference.plans import regression
from gradscope.workload import Workload

if TYPE_CHECKING:
    from gradscope.reference.plans import Batches

FEATURES, SIZE, COUNT, HELD_OUT = 8, 32, 40, 8
Treatment = tuple[str, Mapping[str, Any]]
"""Name of a remedy and its settings."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A sick training. story: what was done wrong. treatments: remedies that are tried on it, each a few together."""

    name: str
    story: str
    make: Callable[[], Workload]
    treatments: tuple[tuple[Treatment, ...], ...]


def classes(count: int) -> Batches:
    """Standard normal inputs and the class that is largest in a linear map of them: whole numbers, shape (SIZE,)."""
    random = np.random.default_rng(8)
    line = random.normal(size=(FEATURES, count))
    given = [random.normal(size=(SIZE, FEATURES)).astype("f4") for _ in range(COUNT + HELD_OUT)]
    return tuple((x, (x @ line).argmax(1).astype("i4")) for x in given)


def chain(depth: int, width: int, activation: Callable[[str], Layer] | None, outputs: int = 1) -> Network:
    """Dense layers, each but the last with an activation."""
    layers: list[Layer] = []
    for i in range(1, depth + 1):
        layers.append(Dense(f"dense{i}", width if i > 1 else FEATURES, width if i < depth else outputs))
        if activation is not None and i < depth:
            layers.append(activation(f"activation{i}"))
    return Network(tuple(layers))


Change = Callable[[str, Array], Array]
"""Takes the name of a weight and its sound initial values."""


def workload(network: Network, rate: float, batches: Batches, loss: Loss, change: Change) -> Workload:
    """A training with SGD, whose last batches are held out."""
    weights = {k: change(k, w).astype("f4") for k, w in network.initial(0, gain=1.0).items()}
    trained, held = batches[:COUNT], batches[COUNT:]
    return Workload(Model(network, weights, seed=0), loss, trained, lambda _weights: SGD(rate), held_out=held)


def regressor(network: Network, rate: float, change: Change = lambda _name, w: w) -> Workload:
    """A regression with the mean squared error."""
    return workload(network, rate, regression(5, COUNT + HELD_OUT, SIZE, FEATURES), mean_squared_error, change)


def classifier(network: Network, rate: float, change: Change) -> Workload:
    """Four classes with the cross-entropy."""
    return workload(network, rate, classes(4), softmax_cross_entropy, change)


def times(kernels: float) -> Change:
    """Kernels so many times as large."""
    return lambda name, w: w * np.float32(kernels) if name.endswith(".kernel") else w


def dead(name: str, weight: Array) -> Array:
    """Biases of -30 in the hidden layers."""
    return weight - 30 if name.endswith(".bias") and not name.startswith("dense4") else weight


CLIP: Treatment = ("clip-gradient-norm", {"max_norm": 1.0})
HE: Treatment = ("he-initialization", {})
NORMALIZE: Treatment = ("batch-normalization", {})
ORTHOGONAL: Treatment = ("orthogonal-initialization", {})
RELU: Treatment = ("replace-activation", {"activation": "relu"})


def lower(factor: float) -> Treatment:
    """The learning rate times a factor below one."""
    return "lower-learning-rate", {"factor": factor}


DEMONSTRATIONS: dict[str, Demonstration] = {
    one.name: one
    for one in (
        Demonstration(
            "deep-sigmoid",
            "Ten layers of sigmoid: each passes on a quarter of the gradient at most.",
            lambda: regressor(chain(10, 16, Sigmoid), 0.05),
            ((NORMALIZE,), (RELU, HE), (CLIP,)),
        ),
        Demonstration(
            "exploding",
            "Twelve linear layers, each of which makes the signal 1.8 times as large.",
            lambda: regressor(chain(12, 16, None), 1e-3, times(1.8)),
            ((CLIP,), (ORTHOGONAL,), (NORMALIZE, lower(0.5)), (lower(0.1),)),
        ),
        Demonstration(
            "dead-relu",
            "Biases of -30 before a ReLU: no unit is ever active.",
            lambda: regressor(chain(4, 32, ReLU), 0.02, dead),
            ((HE,), (NORMALIZE,), (("replace-activation", {"activation": "leaky-relu"}),)),
        ),
        Demonstration(
            "bad-init",
            "A classifier whose weights begin at a fiftieth of what they should be: signal and gradient fade.",
            lambda: classifier(chain(6, 32, ReLU, outputs=4), 0.1, times(0.02)),
            ((HE,), (ORTHOGONAL,), (NORMALIZE,), (("raise-learning-rate", {"factor": 10.0}),)),
        ),
        Demonstration(
            "high-rate",
            "A learning rate beyond what the curvature of the loss allows.",
            lambda: regressor(chain(3, 32, ReLU), 1.5),
            ((lower(0.02),), (CLIP,), (("warm-up", {"steps": 50}),), (NORMALIZE, lower(0.1))),
        ),
    )
}
"""By name, the first of which is shown when none is asked for."""
