"""Small models, their data, and what their gradients should be."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(128, 8)).astype("f4")
Y = X.sum(1, keepdims=True)
TOKENS = RANDOM.integers(0, 6, (64, 5))
COUNTS = (TOKENS == 3).sum(1).astype("f4")[:, None]


def dense(units: int = 16, **options: Any) -> Any:
    """A small regression model, the same each time."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(units, "relu", name="hidden"), keras.layers.Dense(1, name="out")],
        **options,
    )


def embedding() -> Any:
    """A model whose first gradient is an IndexedSlices in which indices occur more than once."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(50, 4), keras.layers.Flatten(), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((5,), dtype="int32"), *layers])


def expected_norms(made: Any, x: Any, y: Any) -> list[float]:
    """Norms of the gradients of the mean square error, by tf.norm of dense ones, float64."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(made(x, training=True) - y))
    found = tape.gradient(loss, made.trainable_variables)
    return [float(np.linalg.norm(tf.convert_to_tensor(g).numpy().astype("f8"))) for g in found]


def row(scope: Any, at: int, quantity: str = "gradient_norm") -> Any:
    """The values of all columns at one step of the first history."""
    table = scope.histories[0]["gradient" if quantity == "gradient_norm" else "parameter"]
    return table.column(quantity)[at]


def same(left: Any, right: Any) -> bool:
    """Whether two models hold the same weights, bit for bit."""
    return all((a == b).all() for a, b in zip(left.get_weights(), right.get_weights(), strict=True))
