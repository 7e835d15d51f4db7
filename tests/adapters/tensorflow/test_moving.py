"""Moving statistics of Keras layers: named when they never move while their layer trains, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from gradscope.report import Report

from tests.adapters.tensorflow.programs import check

LAYER = """
class Norm(layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
        self.mean = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False, name="moving_mean")
        self.var = self.add_weight(shape=shape[-1:], initializer="ones", trainable=False, name="moving_variance")

    def call(self, x, training=False):
        mean, var = self.mean, self.var
        if training:
            mean, var = tf.nn.moments(x, [0])
            {update}
        return self.gamma * (x - mean) / tf.sqrt(var + 1e-5)
"""
FORGETS = LAYER.replace("{update}", "")
UPDATES = LAYER.replace("{update}", "self.mean.assign(0.9 * self.mean + 0.1 * mean)")
FIT = """
middle = {middle}
model = keras.Sequential([keras.Input((8,)), layers.Dense(16), middle, layers.Dense(1)])
model.compile(optimizer="adam", loss="mse")
model.fit(x, line, epochs=2, batch_size=32, verbose=0)
"""
LOOP = """
base = keras.Sequential([keras.Input((8,)), layers.Dense(16), {middle}])
head = layers.Dense(1)
optimizer = keras.optimizers.Adam()
for step in range(20):
    with tf.GradientTape() as tape:
        loss = keras.losses.MeanSquaredError()(line, head(base(x{training})))
    weights = base.trainable_variables + head.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
"""
FIXED = """
class Fixed(layers.Layer):
    def build(self, shape):
        self.mask = self.add_weight(shape=shape[-1:], initializer="ones", trainable=False, name="mask")

    def call(self, x):
        return x * self.mask
"""


def unmoved(report: Report) -> list[str | None]:
    """What is named as unchanged."""
    return [e.parameter for v in report.verdicts if v.name == "unchanged-parameter" for e in v.evidence]


@pytest.mark.parametrize(
    ("program", "layer"),
    [
        (FORGETS + FIT.format(middle="Norm()"), "norm"),
        (FIT.format(middle="layers.BatchNormalization(momentum=1.0)"), "batch_normalization"),
        (FORGETS + LOOP.format(middle="Norm()", training=", training=True"), "sequential.norm"),
    ],
    ids=["forgotten by hand", "momentum of one", "in a loop by hand"],
)
def test_statistics_that_never_move_in_training_are_named(tmp_path: Path, program: str, layer: str) -> None:
    report = check(tmp_path, "keras.utils.clear_session()\n" + program)
    assert unmoved(report) == [f"{layer}.moving_mean", f"{layer}.moving_variance"]
    (verdict,) = [v for v in report.verdicts if v.name == "unchanged-parameter"]
    assert (verdict.severity, verdict.module) == ("warning", layer)


@pytest.mark.parametrize(
    "program",
    [
        UPDATES + FIT.format(middle="Norm()"),
        FIT.format(middle="layers.BatchNormalization()"),
        FIT.format(middle="layers.BatchNormalization(trainable=False)"),
        FIXED + FIT.format(middle="Fixed()"),
        LOOP.format(middle="layers.BatchNormalization()", training=", training=False"),
        LOOP.format(middle="layers.BatchNormalization()", training=""),
    ],
    ids=["by hand", "Keras' own", "frozen", "a mask", "inference on purpose", "a mode that was not told"],
)
def test_what_moves_or_is_not_to_move_is_not_named(tmp_path: Path, program: str) -> None:
    assert unmoved(check(tmp_path, program)) == []
