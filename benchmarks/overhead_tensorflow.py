"""The steps that overhead.py compares on TensorFlow: what fit() runs for a batch, and a loop of one's own, a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradscope
import keras
import numpy as np
import tensorflow as tf
from benchmarks.paired import Step
from keras import layers

SLOW: frozenset[str] = frozenset()
PAIRS = {"watched fit": "bare fit", "watched loop": "bare loop", "norms by hand": "bare loop"}
TARGETS = {"mlp": 1.05, "gpt": 1.05, "cnn": 1.05, "tiny": 1.15}
LESS_THAN_BY_HAND = False
SCOPES: list[gradscope.Scope] = []
RANDOM = np.random.default_rng(0)

Made = tuple[Callable[[], Any], Any, Any]


def numbers(*shape: int) -> Any:
    """Normal numbers."""
    return RANDOM.standard_normal(shape, dtype="f4")


def mlp() -> Made:
    """Twelve layers of 512, batch 128."""

    def build() -> Any:
        hidden = [layers.Dense(512, "relu") for _ in range(12)]
        return keras.Sequential([keras.Input((512,)), *hidden, layers.Dense(10)])

    return build, numbers(128, 512), RANDOM.integers(0, 10, 128)


def gpt() -> Made:
    """A small language model, eight sequences of 64."""

    def build() -> Any:
        width, tokens = 256, keras.Input((64,), dtype="int32")
        x = layers.Embedding(64, width)(tokens) + layers.Embedding(64, width)(np.arange(64)[None])
        for _ in range(6):
            normed = layers.LayerNormalization()(x)
            x = x + layers.MultiHeadAttention(8, width // 8)(normed, normed, use_causal_mask=True)
            inner = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
            x = x + layers.Dense(width)(inner)
        return keras.Model(tokens, layers.Dense(64)(layers.LayerNormalization()(x)))

    tokens = RANDOM.integers(0, 64, (8, 65))
    return build, tokens[:, :-1].astype("i4"), tokens[:, 1:]


def cnn() -> Made:
    """Convolutions with batch normalization on 32 images of 32x32."""

    def build() -> Any:
        stack: list[Any] = []
        for i, width in enumerate([32, 64, 64, 128]):
            convolution = layers.Conv2D(width, 3, strides=1 + i % 2, padding="same")
            stack += [convolution, layers.BatchNormalization(), layers.ReLU()]
        return keras.Sequential([keras.Input((32, 32, 3)), *stack, layers.GlobalAveragePooling2D(), layers.Dense(10)])

    return build, numbers(32, 32, 32, 3), RANDOM.integers(0, 10, 32)


def tiny() -> Made:
    """Sixty layers of 16: nothing but overhead."""

    def build() -> Any:
        hidden = [layers.Dense(16, "tanh") for _ in range(60)]
        return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(10)])

    return build, numbers(32, 16), RANDOM.integers(0, 10, 32)


MODELS = {"mlp": mlp, "gpt": gpt, "cnn": cnn, "tiny": tiny}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(build: Callable[[], Any], x: Any, y: Any, watched: bool = False) -> Step:
    """What fit() runs for every batch."""
    model = build()
    model.compile(keras.optimizers.Adam(1e-4), LOSS)
    if watched:
        SCOPES.append(gradscope.watch(model))
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())

    def step() -> None:
        model.train_function(batches)

    return step


def loop(build: Callable[[], Any], x: Any, y: Any, watched: bool = False, by_hand: bool = False) -> Step:
    """A step of one's own, as a graph."""
    model, optimizer = build(), keras.optimizers.Adam(1e-4)
    if watched:
        SCOPES.append(gradscope.watch(model, optimizer))
    inputs, target = tf.constant(x), tf.constant(y)

    @tf.function
    def train(inputs: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = LOSS(target, model(inputs, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return [tf.norm(tf.convert_to_tensor(g)) for g in gradients] if by_hand else loss

    def step() -> None:
        found = train(inputs, target)
        if by_hand:
            [float(norm) for norm in found]

    return step


def set_threads(threads: int) -> None:
    """How many threads TensorFlow may use."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def steps(name: str) -> dict[str, Step]:
    """The steps to compare for a model of that name."""
    made = MODELS[name]()
    return {
        "bare fit": fit(*made),
        "watched fit": fit(*made, watched=True),
        "bare loop": loop(*made),
        "watched loop": loop(*made, watched=True),
        "norms by hand": loop(*made, by_hand=True),
    }


def close() -> None:
    """Ends what is watched."""
    for scope in SCOPES:
        assert not scope.failures, scope.failures
        scope.close()
    SCOPES.clear()
