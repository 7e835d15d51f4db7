"""The steps that overhead.py compares on JAX: a jitted step of optax, bare, watched, and with norms read by hand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import gradscope
import jax
import jax.numpy as jnp
import numpy as np
import optax
from benchmarks.paired import Step

import gradscope_jax

SLOW: frozenset[str] = frozenset()
PAIRS = {"watched": "bare", "observed": "bare"}
TARGETS = {"mlp": 1.05, "gpt": 1.05, "cnn": 1.05, "tiny": 1.15}
RANDOM = np.random.default_rng(0)
LESS_THAN_BY_HAND = False
SCOPES: list[gradscope.Scope] = []

Made = tuple[Any, Callable[[Any, Any], Any], Any, Any]


def matrix(*shape: int) -> Any:
    """Weights by He."""
    return jnp.asarray(RANDOM.standard_normal(shape, dtype="f4") * np.sqrt(2 / np.prod(shape[:-1])).astype("f4"))


def dense(n_in: int, n_out: int) -> dict[str, Any]:
    """Weights of one layer."""
    return {"w": matrix(n_in, n_out), "b": jnp.zeros(n_out)}


def apply(p: dict[str, Any], x: Any) -> Any:
    """One layer."""
    return x @ p["w"] + p["b"]


def mlp() -> Made:
    """Twelve layers of 512, batch 128."""
    params = [*(dense(512, 512) for _ in range(12)), dense(512, 10)]

    def model(params: Any, x: Any) -> Any:
        for p in params[:-1]:
            x = jax.nn.relu(apply(p, x))
        return apply(params[-1], x)

    return params, model, RANDOM.standard_normal((128, 512), dtype="f4"), RANDOM.integers(0, 10, 128)


def norm(p: dict[str, Any], x: Any) -> Any:
    """Layer normalization."""
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def gpt() -> Made:
    """A small language model, eight sequences of 64."""
    width, heads, length = 256, 8, 64

    def normal() -> dict[str, Any]:
        return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

    def block() -> dict[str, Any]:
        wide = {"up": dense(width, 4 * width), "down": dense(4 * width, width)}
        return {"n1": normal(), "n2": normal(), "qkv": dense(width, 3 * width), "out": dense(width, width), **wide}

    params = {"token": matrix(64, width), "place": matrix(length, width), "blocks": [block() for _ in range(6)]}
    params |= {"norm": normal(), "head": dense(width, 64)}

    def model(params: Any, tokens: Any) -> Any:
        x = params["token"][tokens] + params["place"]
        for p in params["blocks"]:
            q, k, v = jnp.split(apply(p["qkv"], norm(p["n1"], x)).reshape(*x.shape[:2], 3 * heads, -1), 3, axis=2)
            mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + apply(p["out"], mixed.reshape(x.shape))
            x = x + apply(p["down"], jax.nn.gelu(apply(p["up"], norm(p["n2"], x))))
        return apply(params["head"], norm(params["norm"], x))

    tokens = RANDOM.integers(0, 64, (8, length + 1))
    return params, model, tokens[:, :-1], tokens[:, 1:]


def cnn() -> Made:
    """Convolutions with batch normalization on 32 images of 32x32."""
    widths = [3, 32, 64, 64, 128]
    layers = [
        {"w": matrix(3, 3, a, b), "scale": jnp.ones(b), "bias": jnp.zeros(b)} for a, b in itertools.pairwise(widths)
    ]
    params = {"layers": layers, "head": dense(128, 10)}

    def model(params: Any, x: Any) -> Any:
        for i, p in enumerate(params["layers"]):
            strides = (1 + i % 2,) * 2
            x = jax.lax.conv_general_dilated(x, p["w"], strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5) * p["scale"] + p["bias"]
            x = jax.nn.relu(x)
        return apply(params["head"], x.mean((1, 2)))

    return params, model, RANDOM.standard_normal((32, 32, 32, 3), dtype="f4"), RANDOM.integers(0, 10, 32)


def tiny() -> Made:
    """Sixty layers of 16: nothing but overhead."""
    params = [*(dense(16, 16) for _ in range(60)), dense(16, 10)]

    def model(params: Any, x: Any) -> Any:
        for p in params[:-1]:
            x = jnp.tanh(apply(p, x))
        return apply(params[-1], x)

    return params, model, RANDOM.standard_normal((32, 16), dtype="f4"), RANDOM.integers(0, 10, 32)


MODELS = {"mlp": mlp, "gpt": gpt, "cnn": cnn, "tiny": tiny}


def step_of(made: Made, kind: str) -> Step:
    """A jitted step, its state donated, as a user would write it."""
    params, model, x, y = made
    params = jax.tree.map(jnp.array, params)
    scope = gradscope.watch()
    tx = optax.with_extra_args_support(optax.adam(1e-4))
    if kind == "watched":
        tx = gradscope_jax.watch(scope, tx)
        SCOPES.append(scope)
    held = [params, tx.init(params)]
    x, y, count = jnp.asarray(x), jnp.asarray(y), 0

    def loss_of(params: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model(params, x), y).mean()

    def train(params: Any, state: Any, full: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = tx.update(gradients, state, params, value=loss)
        seen = loss
        if kind == "norms by hand":
            seen = [jnp.linalg.norm(g.ravel()) for g in jax.tree.leaves(gradients)]
        if kind == "observed":
            seen = gradscope_jax.observe(gradients, params=params, updates=updates, loss=loss, full=full)
        return optax.apply_updates(params, updates), state, seen

    compiled = jax.jit(train, donate_argnums=(0, 1), static_argnums=2)

    def step() -> None:
        nonlocal count
        held[0], held[1], seen = compiled(held[0], held[1], count % 100 == 0)
        count += 1
        if kind == "observed":
            gradscope_jax.record(scope, seen, held[0])
        if kind == "norms by hand":
            [float(n) for n in seen]
        jax.block_until_ready(held[0])

    return step


def set_threads(threads: int) -> None:
    """How many threads JAX may use: as many as the process may have cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:threads]))


def steps(name: str) -> dict[str, Step]:
    """The steps to compare for a model of that name."""
    made = MODELS[name]()
    return {kind: step_of(made, kind) for kind in ("bare", "watched", "observed", "norms by hand")}


def close() -> None:
    """Ends what is watched."""
    for scope in SCOPES:
        assert not scope.failures, scope.failures
        scope.close()
    SCOPES.clear()
