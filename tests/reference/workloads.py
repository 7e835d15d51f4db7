"""Workloads of the reference for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from gradscope import Scope, Settings, Workload
from gradscope.reference.losses import mean_squared_error
from gradscope.reference.model import Model
from gradscope.reference.optimizers import SGD
from gradscope.reference.specimens import perceptron
from gradscope.reference.training import train

RANDOM = np.random.default_rng(11)
LINE = RANDOM.normal(size=(8, 1))


def batches(count: int = 20, size: int = 16) -> list[tuple[Any, Any]]:
    """A regression, float32."""
    given = [RANDOM.normal(size=(size, 8)).astype("f4") for _ in range(count)]
    return [(x, (x @ LINE).astype("f4")) for x in given]


BATCHES = batches()


def workload(*hidden: int, activation: str = "relu", rate: float = 0.05, **changes: Any) -> Workload:
    """A perceptron that learns."""
    model = Model(perceptron(*(hidden or (16, 16)), activation=activation), seed=7)
    made: dict[str, Any] = {"model": model, "loss": mean_squared_error, "batches": BATCHES}
    return Workload(**made | {"optimizer": lambda _weights: SGD(rate)} | changes)


def trained(one: Workload, steps: int = 60) -> Scope:
    """The scope of a training."""
    scope = Scope(Settings(steps=steps))
    train(scope, one)
    return scope
