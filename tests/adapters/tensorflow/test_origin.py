"""The first cause of an accident under `check`: the layer, the operation, the line, and forward or backward."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from gradscope.check import check_script
from gradscope.origin import Origin
from gradscope.settings import Settings

from tests.adapters.tensorflow.programs import HEAD

LOOP = """
class Root(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")

    def call(self, x):
        return {forward}

model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="first"), Root(name="root"), layers.Dense(1)])
optimizer = keras.optimizers.SGD(0.001)
mask = tf.constant([0.0] * 7 + [-np.inf])
for step in range(6):
    with tf.GradientTape() as tape:
        weight = tf.nn.softmax(tf.constant(np.ones(8, "float32")) + mask)   # benign: -inf in every step
        output = model(x[:32])
        loss = {loss}
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
"""
ERROR = "tf.reduce_mean(tf.square(output - line[:32]))"


def origin(tmp_path: Path, body: str) -> Origin:
    """facts["origin"] of a program, its source as the text of that line."""
    file = tmp_path / "train.py"
    file.write_text(HEAD + body)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as for a user: what Keras warns of is no error
        outcome = check_script(file, [], Settings(steps=50), quiet=True)
    assert outcome.scope is not None
    assert outcome.scope.failures == {}
    found = outcome.scope.histories[0].facts["origin"]
    assert isinstance(found, Origin)
    name, _, line = str(found.source).rpartition(":")
    assert name == str(file)
    return replace(found, source=(HEAD + body).splitlines()[int(line) - 1].strip())


def test_an_operation_of_a_users_layer(tmp_path: Path) -> None:
    body = LOOP.format(forward="tf.math.log(x * self.scale)", loss=ERROR)
    assert origin(tmp_path, body) == Origin("forward", 0, "Log", "root", "return tf.math.log(x * self.scale)")


def test_an_operation_of_the_loss(tmp_path: Path) -> None:
    loss = f"{ERROR} + (tf.math.log(tf.constant(0.0)) if step == 3 else 0.0)"
    found = origin(tmp_path, LOOP.format(forward="x * self.scale", loss=loss))
    assert (found.op, found.step, found.phase) == ("Log", 3, "loss")
    assert str(found.source).startswith("loss = ")


def test_an_operation_of_the_backward_pass(tmp_path: Path) -> None:
    body = LOOP.format(forward="tf.sqrt(tf.nn.relu(x) * self.scale)", loss=ERROR)
    found = origin(tmp_path, body)
    assert (found.module, found.step, found.phase) == ("root", 0, "backward")
    assert "Sqrt" in found.op or "Div" in found.op or "Mul" in found.op


def test_a_layer_of_keras_is_named_by_the_line_that_built_it(tmp_path: Path) -> None:
    body = """
model = keras.Sequential([
    keras.Input((8,)),
    layers.Dense(8, activation="exponential", name="huge", kernel_initializer=keras.initializers.Constant(100.0)),
    layers.Dense(1),
])
model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
model.fit(x, line, epochs=1, batch_size=32, verbose=0)
"""
    found = origin(tmp_path, body)
    assert (found.module, found.op, found.phase) == ("huge", "Exp", "forward")
    assert "huge" in found.source
