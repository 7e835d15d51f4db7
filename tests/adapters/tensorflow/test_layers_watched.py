"""What layers, activations and losses put out under watch(): fetched from inside the graph, on the rare steps that are
looked at, and the training stays the same bit for bit."""

from __future__ import annotations

from typing import Any

import gradscope
import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(64, 8, 8, 3)).astype("f4")
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype("i4")
WORDS = RANDOM.integers(0, 20, (64, 6))


def convolutional() -> Any:
    """Convolution, normalization, dropout and a softmax."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="normed"),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax", name="out"),
        ]
    )


def recurrent() -> Any:
    """An embedding and an LSTM with dropout of its own."""
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((6,)), layers.Embedding(20, 8), layers.LSTM(8, dropout=0.2), layers.Dense(2, "softmax")]
    )


def compiled(build: Any, **options: Any) -> Any:
    """A compiled model, the same each time."""
    keras.utils.set_random_seed(0)
    made = build()
    optimizer = keras.optimizers.Adam(1e-2, global_clipnorm=1.0)
    made.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return made


def fit(made: Any, x: Any) -> Any:
    """Trains 24 steps; gives what Keras logged."""
    return made.fit(x, LABELS, batch_size=16, epochs=6, verbose=0, shuffle=False).history


@pytest.mark.parametrize(("build", "x"), [(convolutional, IMAGES), (recurrent, WORDS)])
def test_training_that_is_looked_into_is_bit_for_bit_the_same(build: Any, x: Any) -> None:
    alone, watched = compiled(build), compiled(build)
    logged = fit(alone, x)
    with gradscope.watch(watched) as scope:
        assert fit(watched, x) == logged
        report = scope.report()
    assert (scope.failures, report.watched["steps"], report.watched["limits"]) == ({}, 24, {})
    assert all((a == b).all() for a, b in zip(alone.get_weights(), watched.get_weights(), strict=True))
    assert scope.histories[0]["module"].steps.tolist() == [0, 1, 2, 4, 8, 16]


def test_a_graph_shows_what_eager_execution_shows() -> None:
    found = []
    for eager in (False, True):
        made = compiled(convolutional, run_eagerly=eager)
        with gradscope.watch(made) as scope:
            fit(made, IMAGES)
            scope.report()
        found.append(scope.histories[0])
    graph, eager_one = found
    for name in ("module", "loss", "input"):
        table, other = graph[name], eager_one[name]
        assert [s.name.partition(" at ")[0] for s in table.subjects] == [
            s.name.partition(" at ")[0] for s in other.subjects
        ]
        assert table.steps.tolist() == other.steps.tolist()
        for quantity in table.quantities:
            np.testing.assert_allclose(table.column(quantity)[:3], other.column(quantity)[:3], rtol=2e-3, atol=1e-5)
    assert np.isfinite(graph["module"].column("output_mean_square")).any()
    assert np.isfinite(graph["loss"].column("value")).all()


SICK = {
    "dead-units": ([keras.layers.Dense(32, "relu", bias_initializer=keras.initializers.Constant(-50.0))], 1, "mse"),
    "output-loss-mismatch": ([keras.layers.Dense(32, "relu")], "softmax", "binary_crossentropy"),
}


@pytest.mark.filterwarnings("ignore:(?s).*softmax over axis")
@pytest.mark.parametrize("illness", SICK)
@pytest.mark.parametrize("own_loop", [False, True])
def test_illnesses_of_layers_and_losses_are_found_under_watch(illness: str, own_loop: bool) -> None:
    hidden, last, loss = SICK[illness]
    keras.utils.set_random_seed(0)
    output = keras.layers.Dense(1, None if last == 1 else last)
    made = keras.Sequential([keras.Input((8,)), *[type(h).from_config(h.get_config()) for h in hidden], output])
    x = RANDOM.normal(size=(512, 8)).astype("f4")
    y = (x.sum(1, keepdims=True) > 0).astype("f4")
    made.compile(keras.optimizers.Adam(1e-3), loss)
    function = {"mse": keras.losses.MeanSquaredError(), "binary_crossentropy": keras.losses.BinaryCrossentropy()}[loss]

    @tf.function
    def step(inputs: Any, target: Any) -> None:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(function(target, made(inputs, training=True)))
        made.optimizer.apply(tape.gradient(value, made.trainable_variables), made.trainable_variables)

    with gradscope.watch(made) as scope:
        if own_loop:
            for at in range(100):
                step(x[at * 32 % 512 :][:32], y[at * 32 % 512 :][:32])
        else:
            made.fit(x, y, batch_size=32, epochs=7, verbose=0)
        report = scope.report()
    assert scope.failures == {}
    assert illness in {v.name for v in report.verdicts}, scope.histories[0]["loss"].subjects


def test_no_tensor_is_held_after_an_eager_step() -> None:
    import gc
    import weakref

    made = compiled(convolutional, run_eagerly=True)
    kept: list[Any] = []

    class Keep(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            kept.append(weakref.ref(x))
            return x

    made = keras.Sequential([*made.layers[:-1], Keep(), made.layers[-1]])
    made.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with gradscope.watch(made):
        made.train_on_batch(IMAGES[:8], LABELS[:8])
        gc.collect()
        assert [k() for k in kept if k() is not None and type(k()).__name__ == "EagerTensor"] == []
