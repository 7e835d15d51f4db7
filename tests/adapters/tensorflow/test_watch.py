"""watch() of a Keras model: graph mode, every step's norms, the same training bit for bit, no trace left."""

from __future__ import annotations

from typing import Any

import gradscope
import numpy as np
import pytest
from gradscope.errors import CannotJudge, UsageError

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(256, 8)).astype("f4")
Y = X.sum(1, keepdims=True)


def model(rate: float = 1e-3, **compile_with: Any) -> Any:
    """A compiled model with dropout and batch normalization, the same each time."""
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    made.compile(optimizer=keras.optimizers.Adam(rate), loss="mse", **compile_with)
    return made


def fit(made: Any, epochs: int = 7) -> Any:
    """Trains eight steps an epoch."""
    return made.fit(X, Y, epochs=epochs, batch_size=32, verbose=0, shuffle=False)


@pytest.mark.parametrize("compile_with", [{}, {"jit_compile": True}, {"run_eagerly": True}])
def test_training_is_bit_for_bit_the_same(compile_with: dict[str, Any]) -> None:
    alone = model(**compile_with)
    fit(alone)
    watched = model(**compile_with)
    with gradscope.watch(watched) as scope:
        fit(watched)
    assert all((a == b).all() for a, b in zip(alone.get_weights(), watched.get_weights(), strict=True))
    report = scope.report()
    assert (report.status, report.watched["steps"], scope.failures) == ("healthy", 56, {})


def test_norms_and_losses_of_every_step_are_those_of_the_gradients() -> None:
    made = model()
    with gradscope.watch(made) as scope:
        for i in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(made(X[:32], training=False) - Y[:32]))
            gradients = tape.gradient(loss, made.trainable_variables)
            made.optimizer.apply_gradients(zip(gradients, made.trainable_variables, strict=True))
            history = (scope.report(), scope.histories[0])[1]
            expected = [np.linalg.norm(g.numpy().astype("f8")) for g in gradients]
            assert history["gradient"].column("gradient_norm")[i] == pytest.approx(expected, rel=1e-5)
            assert history.run("loss")[i] == pytest.approx(float(loss))


def test_a_traced_loop_of_ones_own_is_watched() -> None:
    made = model()
    optimizer = keras.optimizers.SGD(0.01)

    @tf.function
    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(made(x, training=True) - y))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, made.trainable_variables), made.trainable_variables, strict=True)
        )

    with gradscope.watch(made, optimizer) as scope:
        for _ in range(20):
            step(X[:32], Y[:32])
        assert scope.report().watched["steps"] == 20


def test_a_run_that_breaks_is_named() -> None:
    made = model()
    y = Y.copy()
    y[100] = np.nan
    with gradscope.watch(made) as scope:
        made.fit(X, y, epochs=4, batch_size=32, verbose=0, shuffle=False)
    found = {v.name: v.step for v in scope.report().verdicts}
    assert found["non-finite-loss"] == 3
    assert found["non-finite-gradient"] == 3


def test_close_leaves_nothing() -> None:
    before = (keras.optimizers.Optimizer.apply, tf.GradientTape.gradient)
    made = model()
    scope = gradscope.watch(made)
    fit(made, 1)
    scope.close()
    scope.close()
    assert (keras.optimizers.Optimizer.apply, tf.GradientTape.gradient) == before
    fit(made, 1)
    assert scope.report().watched["steps"] == 8


def test_wrong_arguments_are_refused() -> None:
    uncompiled = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    with pytest.raises(UsageError, match="no optimizer yet"):
        gradscope.watch(uncompiled)
    with pytest.raises(UsageError, match="Optimizer, got str"):
        gradscope.watch(uncompiled, "adam")
    with pytest.raises(CannotJudge, match="no weight that is trained"):
        gradscope.watch(keras.Sequential([keras.Input((8,)), keras.layers.ReLU()]), keras.optimizers.SGD())
