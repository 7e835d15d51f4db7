"""Probabilities that enter a loss of logits: where Keras takes the logits in their place, nothing is wrong."""

from __future__ import annotations

from typing import Any

import gradscope
import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(256, 8)).astype("f4")
LABELS = (X @ RANDOM.normal(size=(8, 3))).argmax(1)
TARGETS: dict[str, Any] = {
    "SparseCategoricalCrossentropy": LABELS,
    "CategoricalCrossentropy": np.eye(3, dtype="f4")[LABELS],
    "BinaryCrossentropy": np.eye(3, dtype="f4")[LABELS],
}


def trained(loss: str, output: Any, eager: bool = False) -> tuple[list[float], set[str]]:
    """(the loss by the epoch, the names of the verdicts). output: what makes the logits something else."""
    keras.utils.set_random_seed(0)
    given = keras.Input((8,))
    logits = keras.layers.Dense(3)(keras.layers.Dense(16, activation="relu")(given))
    made = keras.Model(given, logits if output is None else output(logits))
    function = getattr(keras.losses, loss)(from_logits=True)
    made.compile(keras.optimizers.Adam(1e-2), function, run_eagerly=eager)
    with gradscope.watch(made) as scope:
        seen = made.fit(X, TARGETS[loss], epochs=6, batch_size=32, verbose=0, shuffle=False)
        report = scope.report()
    assert scope.failures == {}
    return seen.history["loss"], {v.name for v in report.verdicts}


@pytest.mark.filterwarnings("ignore:.*from_logits")
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("loss", TARGETS)
def test_an_activation_of_keras_before_a_loss_of_logits_is_none(loss: str, eager: bool) -> None:
    kind = "sigmoid" if loss.startswith("Binary") else "softmax"
    losses, verdicts = trained(loss, keras.layers.Activation(kind), eager)
    plain, _ = trained(loss, None, eager)
    assert losses == pytest.approx(plain, rel=1e-6)
    assert "output-loss-mismatch" not in verdicts


@pytest.mark.parametrize("loss", ["SparseCategoricalCrossentropy", "CategoricalCrossentropy"])
def test_probabilities_that_keras_does_not_see_through_are_a_mismatch(loss: str) -> None:
    def hidden(logits: Any) -> Any:
        return keras.layers.Reshape((3,))(keras.layers.Softmax()(logits))

    losses, verdicts = trained(loss, hidden)
    plain, _ = trained(loss, None)
    assert losses[-1] > 1.5 * plain[-1]
    assert "output-loss-mismatch" in verdicts
