"""Sick specimens: trainings that go wrong, each in one way that is known, as data. Every framework builds them in its
own way from the same weights and batches, and gradscope must say the same of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from gradscope.reference.activations import Flatten, ReLU, Sigmoid, Softmax, Tanh
from gradscope.reference.layers import Array, Conv, Dense, Layer
from gradscope.reference.network import Network
from gradscope.reference.plans import Batches, Plan, images, regression

STEPS = 60
SIZE = 32
FEATURES = 8

SPECIMENS: dict[str, Callable[[], Plan]] = {}


def specimen(make: Callable[[], Plan]) -> Callable[[], Plan]:
    """Adds a plan to SPECIMENS, by the name of its function with hyphens."""
    SPECIMENS[make.__name__.replace("_", "-")] = make
    return make


KINDS: dict[str, Callable[[str], Layer]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh, "softmax": Softmax}


def perceptron(*hidden: int, activation: str = "relu", output: str | None = None, units: int = 1) -> Network:
    """Dense layers, each but the last with an activation: dense1, relu1, dense2 ..."""
    sizes = [FEATURES, *hidden, units]
    layers: list[Layer] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        layers.append(Dense(f"dense{i}", inputs, outputs))
        kind = activation if i < len(sizes) - 1 else output
        if kind is not None:
            layers.append(KINDS[kind](f"{kind}{i}"))
    return Network(tuple(layers))


def classification(seed: int, classes: int = 2) -> Batches:
    """Standard normal inputs and the class that is largest in a linear map of them: whole numbers, shape (size,)."""
    random = np.random.default_rng(seed)
    line = random.normal(size=(FEATURES, classes))
    given = [random.normal(size=(SIZE, FEATURES)).astype("f4") for _ in range(STEPS)]
    return tuple((x, (x @ line).argmax(1).astype("i4")) for x in given)


def as_column(batches: Batches) -> Batches:
    """Classes 0 and 1 as numbers, shape (size, 1), float32."""
    return tuple((x, y[:, None].astype("f4")) for x, y in batches)


def linear() -> Batches:
    """The regression of most specimens."""
    return regression(5, STEPS, SIZE, FEATURES)


def plan_of(network: Network, batches: Batches, loss: str = "mean_squared_error", rate: float = 0.05) -> Plan:
    """A plan with SGD and sound initial weights."""
    return Plan("specimen", network, network.initial(0), loss, "SGD", rate, batches)


def scaled(plan: Plan, kernels: float, *only: str) -> Plan:
    """The plan with larger or smaller kernels, all of them or those of some layers."""
    weights = {
        k: w * np.float32(kernels) if k.endswith(".kernel") and (not only or k.partition(".")[0] in only) else w
        for k, w in plan.weights.items()
    }
    return replace(plan, weights=weights)


def given_with(plan: Plan, change: Callable[[int, Array], Array]) -> Plan:
    """The plan with other inputs: change takes the number of the step and its input."""
    batches = tuple((change(i, x).astype("f4"), y) for i, (x, y) in enumerate(plan.batches))
    return replace(plan, batches=batches)


@specimen
def deep_sigmoid() -> Plan:
    """Ten sigmoid layers: the gradient vanishes on its way to the first ones."""
    network = perceptron(*[16] * 10, activation="sigmoid")
    return plan_of(network, linear())


@specimen
def exploding_start() -> Plan:
    """Kernels four times as large as they should be, in five layers."""
    return scaled(plan_of(perceptron(32, 32, 32, 32), linear(), rate=1e-3), 4)


@specimen
def dead_relu() -> Plan:
    """Biases of -50: no unit of the first layer is ever active."""
    plan = plan_of(perceptron(32, 16), linear())
    return replace(plan, weights={**plan.weights, "dense1.bias": np.full(32, -50, "f4")})


@specimen
def nan_in_a_batch() -> Plan:
    """One input in step 20 is NaN, before a tanh: a relu of MXNet would make zero of it."""

    def spoil(step: int, x: Array) -> Array:
        return np.where(np.arange(x.size).reshape(x.shape) == 17, np.nan, x) if step == 20 else x

    return given_with(plan_of(perceptron(32, activation="tanh"), linear()), spoil)


@specimen
def nan_of_log() -> Plan:
    """A log loss by hand, without protection, and a batch in step 25 whose sigmoid is exactly 0 or 1."""
    plan = plan_of(perceptron(32, output="sigmoid"), as_column(classification(6)), "log_loss", 0.1)
    return given_with(plan, lambda step, x: x * 1000 if step == 25 else x)


@specimen
def near_log_of_zero() -> Plan:
    """The same, where a batch comes near to it."""
    plan = plan_of(perceptron(32, output="sigmoid"), as_column(classification(6)), "log_loss", 0.1)
    return given_with(plan, lambda step, x: x * 5 if step == 25 else x)


@specimen
def rate_too_high() -> Plan:
    """A learning rate beyond what the curvature allows: the loss grows in each step."""
    return plan_of(perceptron(), linear(), rate=0.9)


@specimen
def rate_too_low() -> Plan:
    """A learning rate of 1e-9: nothing moves."""
    return plan_of(perceptron(32), linear(), rate=1e-9)


@specimen
def constant_start() -> Plan:
    """Every kernel is of one value: all units of a layer stay copies of each other."""
    plan = plan_of(perceptron(16, 16, units=3), classification(7, 3), "softmax_cross_entropy", 0.02)
    weights = {k: np.full_like(w, 0.1) if k.endswith(".kernel") else w for k, w in plan.weights.items()}
    return replace(plan, weights=weights)


@specimen
def softmax_twice() -> Plan:
    """Probabilities enter a loss that applies softmax itself."""
    network = perceptron(32, output="softmax", units=4)
    return plan_of(network, classification(8, 4), "softmax_cross_entropy", 0.05)


@specimen
def broadcast() -> Plan:
    """Targets (N,) against predictions (N, 1), in a difference written by hand."""
    plan = plan_of(perceptron(32), linear(), "squared_difference", 0.01)
    return replace(plan, batches=tuple((x, y[:, 0]) for x, y in plan.batches))


@specimen
def raw_input() -> Plan:
    """Inputs of size 10000 with an offset of 30000, into a tanh."""
    plan = plan_of(perceptron(32, activation="tanh"), linear())
    return given_with(plan, lambda _step, x: x * 1e4 + 3e4)


@specimen
def raw_target() -> Plan:
    """Targets of 250000, with Adam."""
    plan = plan_of(perceptron(32), linear(), rate=1e-3)
    batches = tuple((x, y * np.float32(1e5) + np.float32(2.5e5)) for x, y in plan.batches)
    return replace(plan, optimizer="Adam", batches=batches)


@specimen
def stuck_layer() -> Plan:
    """A first layer whose weights are so large that float32 loses every update of them."""
    plan = scaled(plan_of(perceptron(32), linear(), rate=0.02), 1e5, "dense1")
    return given_with(plan, lambda _step, x: x * 1e-5)


@specimen
def clipped_away() -> Plan:
    """Gradients that are clipped to a ten-thousandth of what they are."""
    return replace(plan_of(perceptron(32), linear(), rate=0.02), limit=1e-4)


@specimen
def dead_convolution() -> Plan:
    """A convolution whose biases leave no pixel alive."""
    layers = (Conv("conv1", 1, 6), ReLU("relu1"), Flatten("flatten"), Dense("dense2", 6 * 6 * 6, 4))
    plan = plan_of(Network(layers), images(9, STEPS, SIZE, 8), "softmax_cross_entropy")
    return replace(plan, weights={**plan.weights, "conv1.bias": np.full(6, -50, "f4")})
