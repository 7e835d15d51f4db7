"""Ways of training that Keras has, each watched: models in models, train_on_batch, several steps at once, long loops of
graphs, strategies."""

from __future__ import annotations

from typing import Any

import gradscope
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.adapters.tensorflow.models import X, Y, dense


class Block(keras.layers.Layer):
    """A subclassed layer that holds layers of the same name."""

    def __init__(self) -> None:
        super().__init__(name="block")
        self.first = keras.layers.Dense(8, "relu", name="fc")
        self.second = keras.layers.Dense(8, name="fc")

    def call(self, x: Any) -> Any:
        return x + self.second(self.first(x))


class Net(keras.Model):
    """A subclassed model of models."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [Block(), Block()]
        self.head = keras.Sequential([keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class OwnStep(Net):
    """A model with a train_step of its own."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


@pytest.mark.parametrize("kind", [Net, OwnStep])
def test_nested_and_subclassed_models_have_a_name_for_every_parameter(kind: Any) -> None:
    made = kind()
    made.compile(keras.optimizers.Adam(1e-2), "mse")
    with gradscope.watch(made) as scope:
        made.fit(X, Y, batch_size=32, epochs=5, verbose=0)
        report = scope.report()
    names = [s.name for s in scope.histories[0]["gradient"].subjects]
    assert (scope.failures, report.status, report.watched["steps"]) == ({}, "healthy", 20)
    assert len(set(names)) == len(names) == len(made.trainable_variables) == 12
    assert not [n for n in names if n.endswith("'")], "a name tells nothing about where its parameter is"
    modules = {s.name for s in scope.histories[0]["module"].subjects}
    assert {n.rpartition(".")[0] for n in names} <= modules


def test_train_on_batch_is_watched() -> None:
    made = dense()
    made.compile(keras.optimizers.SGD(0.01), "mse")
    with gradscope.watch(made) as scope:
        for _ in range(10):
            made.train_on_batch(X, Y)
            made.predict_on_batch(X)
        assert scope.report().watched["steps"] == 10
    assert np.isfinite(scope.histories[0]["parameter"].column("update_norm")).all()


def test_several_steps_per_execution_are_all_seen() -> None:
    made = dense()
    made.compile(keras.optimizers.SGD(0.001), "mse", steps_per_execution=50)
    with gradscope.watch(made) as scope:
        made.fit(np.tile(X, (25, 1)), np.tile(Y, (25, 1)), batch_size=16, epochs=1, verbose=0)
        assert scope.report().watched["steps"] == 200
    assert scope.histories[0]["gradient"].dropped == 0


def test_a_long_loop_of_graphs_loses_no_step() -> None:
    made, optimizer = dense(), keras.optimizers.SGD(1e-3)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(made(X) - Y))
        optimizer.apply(tape.gradient(loss, made.trainable_variables), made.trainable_variables)

    with gradscope.watch(made, optimizer) as scope:
        for _ in range(300):
            step()
        assert scope.report().watched["steps"] == 300
    assert scope.histories[0]["parameter"].steps.tolist() == [0, 1, 2, 4, 8, 16, 32, 64, 100, 200]


@pytest.mark.parametrize("eager", [False, True])
def test_the_first_accident_is_traced_to_its_layer(eager: bool) -> None:
    keras.utils.set_random_seed(0)

    class Root(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="root")
            self.shift = self.add_weight(shape=(1,), initializer="zeros", name="shift")

        def call(self, x: Any) -> Any:
            return tf.sqrt(x + self.shift)

    made = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="fine"), Root(), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=eager)
    with gradscope.watch(made) as scope:
        made.fit(X, Y, batch_size=32, epochs=1, verbose=0, shuffle=False)
        scope.report()
    origin = scope.histories[0].facts["origin"]
    assert (origin.module, origin.op, origin.step, origin.phase) == ("root", "Root", 0, "forward")


def test_what_a_strategy_distributes_is_not_judged_and_trains_on() -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        made = dense()
        made.compile(keras.optimizers.SGD(0.01), "mse")
    with gradscope.watch(made) as scope:
        made.fit(X, Y, batch_size=32, epochs=1, verbose=0)
        report = scope.report()
    assert report.status == "not-judged"
    assert "under a tf.distribute strategy are not watched" in scope.failures["keras optimizers"]
