"""Kinds of gradients that Keras has, each watched: sparse and missing ones, several optimizers, accumulation, mixed
precision, clipping. What is measured is compared with what was computed by hand."""

from __future__ import annotations

from typing import Any

import gradscope
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.adapters.tensorflow.models import COUNTS, TOKENS, X, Y, dense, embedding, expected_norms, row, same


class Forgetful(keras.Model):
    """A model with a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.used, self.unused = (
            keras.layers.Dense(n, name=name) for n, name in ((8, "frozen"), (1, "used"), (2, "unused"))
        )
        self.unused.build((None, 8))

    def call(self, x: Any) -> Any:
        return self.used(self.frozen(x))


@pytest.mark.parametrize("jit", [False, True])
def test_sparse_gradients_have_the_norm_of_dense_ones(jit: bool) -> None:
    made, alone = embedding(), embedding()
    for one in (made, alone):
        one.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit)
    expected = expected_norms(made, TOKENS, COUNTS)
    with gradscope.watch(made) as scope:
        made.fit(TOKENS, COUNTS, batch_size=64, epochs=3, verbose=0, shuffle=False)
        assert scope.report().watched["steps"] == 3
        assert row(scope, 0) == pytest.approx(expected, rel=1e-5)
    assert scope.failures == {}
    alone.fit(TOKENS, COUNTS, batch_size=64, epochs=3, verbose=0, shuffle=False)
    assert same(made, alone)


def test_a_parameter_without_gradient_is_missing_and_a_frozen_one_is_not() -> None:
    keras.utils.set_random_seed(0)
    made = Forgetful()
    made(X)
    made.frozen.trainable = False
    made.compile(keras.optimizers.SGD(0.01), "mse")
    with gradscope.watch(made) as scope, pytest.warns(UserWarning, match="Gradients do not exist"):
        made.fit(X, Y, epochs=2, batch_size=32, verbose=0)
        scope.report()
    names = [s.name for s in scope.histories[0]["gradient"].subjects]
    found = dict(zip(names, row(scope, 0), strict=True))
    assert found.keys() >= {"used.kernel", "unused.kernel"}
    assert "frozen.kernel" not in found
    assert found["unused.kernel"] == -1 < found["used.kernel"]


@pytest.mark.parametrize("graph", [False, True])
def test_several_optimizers_have_a_history_and_a_loss_each(graph: bool) -> None:
    first, second = dense(name="first"), dense(name="second")
    left, right = keras.optimizers.SGD(0.01), keras.optimizers.Adam(0.01)

    def step() -> Any:
        with tf.GradientTape(persistent=True) as tape:
            one = tf.reduce_mean(tf.square(first(X) - Y))
            other = 1000.0 * tf.reduce_mean(tf.square(second(X) - Y))
        gradients = tape.gradient(one, first.trainable_variables), tape.gradient(other, second.trainable_variables)
        left.apply_gradients(zip(gradients[0], first.trainable_variables, strict=True))
        right.apply_gradients(zip(gradients[1], second.trainable_variables, strict=True))
        return one, other

    run = tf.function(step) if graph else step
    with gradscope.watch([first, second], [left, right]) as scope:
        losses = np.array([[float(v) for v in run()] for _ in range(5)])
        report = scope.report()
    assert (scope.failures, [h.steps for h in scope.histories]) == ({}, [5, 5])
    for at, history in enumerate(scope.histories):
        assert history.run("loss") == pytest.approx(losses[:, at], rel=1e-5)
        mine = [s.name for s in history["gradient"].subjects if not s.traits["elsewhere"]]
        assert {n.split(".")[0] for n in mine} == {("first", "second")[at]}
    assert "missing-gradient" not in [v.name for v in report.verdicts]


@pytest.mark.parametrize("eager", [False, True])
def test_accumulated_gradients_are_judged_at_the_step_that_they_make(eager: bool) -> None:
    made, alone = dense(), dense()
    for one in (made, alone):
        one.compile(keras.optimizers.SGD(0.01, gradient_accumulation_steps=4), "mse", run_eagerly=eager)
    expected = expected_norms(made, X, Y)
    with gradscope.watch(made) as scope:
        made.fit(X, Y, batch_size=32, epochs=3, verbose=0, shuffle=False)
        assert scope.report().watched["steps"] == 3
    assert scope.failures == {}
    assert row(scope, 0) == pytest.approx(expected, rel=1e-4)
    alone.fit(X, Y, batch_size=32, epochs=3, verbose=0, shuffle=False)
    assert same(made, alone)
    update = row(scope, 0, "update_norm")
    if eager:
        assert update == pytest.approx([0.01 * e for e in expected], rel=1e-3)


@pytest.mark.parametrize("eager", [False, True])
def test_a_loss_scaler_shows_true_norms_and_the_steps_that_it_skips(eager: bool) -> None:
    made = dense()
    scaler = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-5), initial_scale=2.0**126)
    made.compile(scaler, "mse", run_eagerly=eager)
    expected = expected_norms(made, X, 100 * Y)
    with gradscope.watch(made) as scope:
        made.fit(X, 100 * Y, batch_size=128, epochs=24, verbose=0, shuffle=False)
        report = scope.report()
    history = scope.histories[0]
    skipped = history.run("skipped") == 1
    assert (scope.failures, report.watched["steps"]) == ({}, 24)
    assert not [v.name for v in report.verdicts if v.name.startswith("non-finite")]
    assert 0 < skipped.sum() < 12, skipped
    assert np.isfinite(history["gradient"].column("gradient_norm")[~skipped]).all()
    first = int(np.flatnonzero(~skipped)[0])
    assert row(scope, first) == pytest.approx(expected, rel=1e-3)
    assert np.isfinite(history.run("loss")[~skipped]).all()
    assert (np.diff(history.run("loss_scale")[: first + 1]) < 0).all()


def test_mixed_precision_is_watched() -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "relu", dtype="mixed_float16"), keras.layers.Dense(1, dtype="mixed_float16")]
    made = keras.Sequential([keras.Input((8,)), *layers])
    made.compile("sgd", "mse")
    made.optimizer.learning_rate = 0.001
    with gradscope.watch(made) as scope:
        made.fit(X, Y, epochs=5, batch_size=32, verbose=0)
        report = scope.report()
    assert (scope.failures, report.watched["steps"]) == ({}, 20)
    norms = scope.histories[0]["gradient"].column("gradient_norm")
    skipped = scope.histories[0].run("skipped") == 1
    assert (norms[~skipped] < 1e3).all()


@pytest.mark.parametrize("factor", [1024.0])
def test_a_fixed_loss_scale_is_taken_out(factor: float) -> None:
    made = dense()
    made.compile(keras.optimizers.SGD(0.001, loss_scale_factor=factor), "mse")
    expected = expected_norms(made, X, Y)
    with gradscope.watch(made) as scope:
        made.fit(X, Y, batch_size=128, epochs=1, verbose=0)
        scope.report()
    assert row(scope, 0) == pytest.approx(expected, rel=1e-5)
    assert scope.histories[0].run("loss")[0] == pytest.approx(float(np.square(dense()(X) - Y).mean()), rel=1e-5)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping_by_the_optimizer_is_seen(clip: str) -> None:
    made = dense()
    made.compile(keras.optimizers.SGD(0.01, **{clip: 1e-5}), "mse")
    with gradscope.watch(made) as scope:
        made.fit(X, Y, batch_size=16, epochs=6, verbose=0)
        names = [v.name for v in scope.report().verdicts]
    history = scope.histories[0]
    assert "always-clipped" in names
    assert (history.run("clip_limit") < history.run("clip_before") / 100).all()
