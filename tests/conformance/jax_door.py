"""Plans in JAX with optax, written by hand as one would, under each of the ways in which gradscope observes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gradscope import Scope
from gradscope.reference.activations import Flatten, ReLU, Sigmoid, Softmax, Tanh
from gradscope.reference.layers import Conv, Dense, Layer
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.plans import DECAYS, Plan

import gradscope_jax
from gradscope_jax.session import Session

HAT = False
"""Whether its Adam is the form with epsilon-hat."""
ROOT = "output"
"""What stands for the whole model, which is a function here."""
ACTIVATIONS: dict[Any, Callable[[Any], Any]] = {
    ReLU: jax.nn.relu,
    Sigmoid: jax.nn.sigmoid,
    Tanh: jnp.tanh,
    Softmax: jax.nn.softmax,
}


def parameters_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """The weights: a dictionary for each layer that has some."""
    found: dict[str, dict[str, Any]] = {}
    for name, weight in plan.weights.items():
        layer, _, short = name.partition(".")
        found.setdefault(layer, {})[short] = jnp.asarray(weight)
    return found


def reference_name(name: str) -> str:
    """What the reference calls a parameter, or a module."""
    return "" if name == ROOT else name


def applied(layer: Layer, own: dict[str, Any], x: Any) -> Any:
    """The output of one layer."""
    if isinstance(layer, Dense):
        out = x @ own["kernel"]
        return out + own["bias"] if layer.bias else out
    if isinstance(layer, Conv):
        dimensions = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(x, own["kernel"], (1, 1), "VALID", dimension_numbers=dimensions)
        return out + own["bias"] if layer.bias else out
    if isinstance(layer, BatchNorm):
        axes = tuple(range(x.ndim - 1))
        standard = (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + layer.epsilon)
        return standard * own["gamma"] + own["beta"]
    return x.reshape(len(x), -1) if isinstance(layer, Flatten) else ACTIVATIONS[type(layer)](x)


def loss_of(plan: Plan) -> Callable[[Any, Any, Any], Any]:
    """The loss as a function of the parameters and a batch."""

    def loss(parameters: Any, x: Any, target: Any) -> Any:
        for layer in plan.network.layers:
            x = applied(layer, parameters.get(layer.name, {}), x)
        if plan.loss == "mean_squared_error":
            return optax.squared_error(x, target).mean()
        if plan.loss == "softmax_cross_entropy":
            return optax.softmax_cross_entropy_with_integer_labels(x, target).mean()
        if plan.loss == "squared_difference":
            return jnp.mean((x - target) ** 2)
        return -jnp.mean(target * jnp.log(x) + (1 - target) * jnp.log(1 - x))

    return loss


def optimizer_of(plan: Plan) -> Any:
    """The transformation, with clipping before it."""
    made = optax.sgd(plan.rate) if plan.optimizer == "SGD" else optax.adam(plan.rate, *DECAYS)
    return made if plan.limit is None else optax.chain(optax.clip_by_global_norm(plan.limit), made)


def observed(plan: Plan, way: str) -> Scope:
    """The closed scope of a training."""
    scope = Scope()
    if way == "watch":
        optimizer = gradscope_jax.watch(scope, optimizer_of(plan))
        with scope:
            trained(plan, optimizer, jax.jit, value=True, after=partial(gradscope_jax.read, scope))
        return scope
    with Session(scope):
        trained(plan, optimizer_of(plan), lambda step: step, value=False)
    return scope


def trained(
    plan: Plan,
    optimizer: Any,
    compiled: Callable[[Any], Any],
    *,
    value: bool,
    after: Callable[[Any], None] = lambda _state: None,
) -> None:
    """One step a batch. value: whether the optimizer is told of the loss. after: called with its state after a step."""
    loss_and_gradients = jax.value_and_grad(loss_of(plan))

    @compiled
    def step(parameters: Any, state: Any, x: Any, target: Any) -> Any:
        loss, gradients = loss_and_gradients(parameters, x, target)
        told = {"value": loss} if value else {}
        updates, state = optimizer.update(gradients, state, parameters, **told)
        return optax.apply_updates(parameters, updates), state

    parameters = parameters_of(plan)
    state = optimizer.init(parameters)
    for given, target in plan.batches:
        parameters, state = step(parameters, state, jnp.asarray(given), jnp.asarray(target))
        after(state)
