"""Watches that end badly leave nothing behind; graphs and steps of several kinds are told apart."""

from __future__ import annotations

import gc
from typing import Any

import gradscope
import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from keras.src.optimizers.base_optimizer import BaseOptimizer  # noqa: E402

from gradscope_tensorflow.callback import GradscopeCallback  # noqa: E402
from gradscope_tensorflow.track import Track  # noqa: E402
from gradscope_tensorflow.watch import OPEN  # noqa: E402

X, Y = np.ones((8, 3), "f4"), np.ones((8, 1), "f4")


def model(dtype: str = "float32") -> Any:
    """Two layers, not compiled."""
    keras.utils.set_random_seed(0)
    dense = [keras.layers.Dense(4, activation="relu", dtype=dtype), keras.layers.Dense(1, dtype=dtype)]
    return keras.Sequential([keras.Input((3,), dtype=dtype), *dense])


def interrupt(*_: Any, **__: Any) -> None:
    """Ends fit() as a user does with Ctrl-C."""
    raise KeyboardInterrupt


def interrupting() -> Any:
    """A callback that interrupts after the first batch."""
    return keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)


def interrupted(made: Any) -> GradscopeCallback:
    """A callback whose fit() was."""
    callback = GradscopeCallback(show=None)
    with pytest.raises(KeyboardInterrupt):
        made.fit(X, Y, verbose=0, callbacks=[callback, interrupting()])
    return callback


def test_a_fit_that_is_interrupted_leaves_no_watch() -> None:
    before = BaseOptimizer.apply
    made = model()
    made.compile("sgd", "mse")
    callback = interrupted(made)
    gc.collect()
    assert BaseOptimizer.apply is before
    assert OPEN == []
    assert callback.scope is not None
    assert callback.scope.report().watched["steps"] == 1
    assert callback.scope.failures == {}


def test_the_next_fit_ends_what_an_interrupted_one_left() -> None:
    before = BaseOptimizer.apply
    made = model()
    made.compile("sgd", "mse")
    callback = GradscopeCallback(show=None)
    with pytest.raises(KeyboardInterrupt) as kept:  # as an interpreter keeps its last error, with all its frames
        made.fit(X, Y, verbose=0, callbacks=[callback, interrupting()])
    made.fit(X, Y, verbose=0, callbacks=[GradscopeCallback(show=None)])
    assert kept.type is KeyboardInterrupt
    assert BaseOptimizer.apply is before
    assert OPEN == []


def test_a_failure_while_closing_is_told_and_leaves_no_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    before = BaseOptimizer.apply
    made = model()
    optimizer = keras.optimizers.SGD(0.01)
    scope = gradscope.watch(made, optimizer)
    step(made, optimizer)

    def fail(_track: Any, *_: Any) -> None:
        raise RuntimeError("lost")

    monkeypatch.setattr(Track, "drain", fail)
    scope.close()
    assert BaseOptimizer.apply is before
    assert OPEN == []
    assert scope.failures == {"history": "RuntimeError: lost"}


def step(made: Any, optimizer: Any, x: Any = X, calls: int = 1) -> Any:
    """A step by hand, with one call of tape.gradient or several. Gives the loss."""
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_mean(made(x) ** 2)
    found = [tape.gradient(loss, made.trainable_variables) for _ in range(calls)]
    optimizer.apply_gradients(zip([sum(g) for g in zip(*found, strict=True)], made.trainable_variables, strict=True))
    return loss


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("graph", [False, True])
def test_the_forward_pass_that_is_noted_is_that_of_its_step(calls: int, graph: bool) -> None:
    made, optimizer = model(), keras.optimizers.SGD(1e-4)
    with gradscope.watch(made, optimizer) as scope:

        def run(value: Any) -> None:
            step(made, optimizer, tf.fill((8, 3), tf.cast(value, tf.float32)), calls)

        take = tf.function(run) if graph else run
        for i in range(20):
            take(tf.constant(i))
        scope.report()
        table = scope.histories[0]["input"]
        assert table.steps.tolist() == [0, 1, 2, 4, 8, 16]
        assert table.column("mean").ravel().tolist() == [0, 1, 2, 4, 8, 16]


def test_steps_without_a_known_loss_are_told_from_those_with_one() -> None:
    made, optimizer = model(), keras.optimizers.SGD(0.01)
    with gradscope.watch(made, optimizer) as scope:

        def gradients() -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(made(X) ** 2)
            return tape.gradient(loss, made.trainable_variables)

        inner = tf.function(gradients)

        def without() -> None:
            optimizer.apply_gradients(zip(inner(), made.trainable_variables, strict=True))

        outer = tf.function(without)
        for _ in range(6):
            outer()
        tf.function(lambda: step(made, optimizer))()
        report = scope.report()
        bad = scope.histories[0].run("loss_nonfinite")
    assert np.isnan(bad[:6]).all()
    assert bad[6] == 0
    assert "non-finite-loss" not in {v.name for v in report.verdicts}


def test_gradients_of_a_loss_scaler_are_not_kept() -> None:
    made = model()
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))
    with gradscope.watch(made, optimizer) as scope:
        watched: Any = scope.watched
        step(made, optimizer)
        assert watched._scaled == {}
        assert scope.report().watched["steps"] == 1
    assert scope.failures == {}


@pytest.mark.parametrize("graph", [False, True])
def test_a_gradient_of_float64_that_is_huge_is_not_infinite(graph: bool) -> None:
    made = model("float64")
    optimizer = keras.optimizers.SGD(0.0)
    with gradscope.watch(made, optimizer) as scope:

        def run() -> None:
            given = [tf.fill(v.shape, tf.constant(1e200, tf.float64)) for v in made.trainable_variables]
            optimizer.apply_gradients(zip(given, made.trainable_variables, strict=True))

        (tf.function(run) if graph else run)()
        scope.report()
        norms = scope.histories[0]["gradient"].column("gradient_norm")[-1]
        watched: Any = scope.watched
        track = next(iter(watched.tracks.values()))
        assert track.ring.cells.dtype == tf.float64
    assert scope.failures == {}
    assert np.isfinite(norms).all()
    assert (norms > 1e38).all()
