"""Least squares in numpy, observed from plain arrays."""

import math

import numpy as np
from gradscope.scope import Scope


def train(scope: Scope, *, steps: int = 60, rate: float = 0.05, broken_from: int = 10**9, logged: bool = False) -> None:
    """Least squares by gradient descent, in numpy, observed."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(4, 3))
    weight, bias = random.normal(size=(4, 3)), np.ones(3)
    for step in range(steps):
        x = random.normal(size=(16, 4))
        error = x @ weight + bias - x @ truth
        loss = float((error**2).mean())
        gradients = {"net.weight": 2 * x.T @ error / error.size, "net.bias": 2 * error.mean(axis=0) / 3}
        if step >= broken_from:
            gradients["net.weight"][0, 0] = math.nan
        weight, bias = weight - 4 * rate * gradients["net.weight"], bias - 4 * rate * gradients["net.bias"]
        parameters = {"net.weight": weight, "net.bias": bias}
        given = {} if logged else {"loss": loss}
        scope.observe(step=step, gradients=gradients, parameters=parameters, learning_rate=rate, **given)
        if logged:
            scope.log(loss=loss)


def losses(scope: Scope) -> list[float]:
    return scope.histories[0].run("loss").tolist()
