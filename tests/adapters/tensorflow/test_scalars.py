"""Activations of scalars, as a gate for the whole batch has: one unit, and nothing else stops being seen for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradscope import Scope

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")


class Gated(keras.Model):
    """A layer, times two gates for the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        out = self.dense(x)
        size = tf.reduce_mean(tf.square(out))
        return tf.tanh(out * tf.sigmoid(size) * tf.nn.relu(size))


def test_a_gate_of_one_number_is_an_activation_of_one_unit() -> None:
    from gradscope_tensorflow.session import Session

    scope = Scope()
    with Session(scope):
        model = Gated()
        model.compile("sgd", "mse")
        model.train_on_batch(np.ones((8, 3), "f4"), np.zeros((8, 2), "f4"))
    assert scope.failures == {}
    modules = scope.histories[0]["module"]
    units = {s.traits["activation"]: s.traits["units"] for s in modules.subjects if "activation" in s.traits}
    assert {units["sigmoid"], units["relu"]} == {1}
    assert units["tanh"] == 2
