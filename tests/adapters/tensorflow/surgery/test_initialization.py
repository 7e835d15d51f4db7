"""Remedies that draw the weights anew, or change their precision."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from gradscope.errors import CannotApply
from keras import layers

from gradscope_tensorflow.surgery import treat
from tests.adapters.tensorflow.surgery.workloads import (
    PRECISE,
    Own,
    mixed,
    model_of,
    perceptron,
    plain,
    run,
    sequence,
    workload,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


def deviation_over_scale(remedy: str, scale: Callable[[Any], float]) -> list[float]:
    """Deviation of the kernels of a wide network, over what the remedy says it should be."""
    made = model_of(treat(workload(perceptron(400, 300)), remedy, {}))
    assert not any(layer.get_weights()[1].any() for layer in made.layers)
    return [layer.get_weights()[0].std() / scale(layer.kernel.shape) for layer in made.layers[:-1]]


def test_he_draws_by_the_fan_in():
    assert deviation_over_scale("he-initialization", lambda s: (2 / s[0]) ** 0.5) == pytest.approx([1, 1], rel=0.05)


def test_glorot_draws_by_both_fans():
    ratios = deviation_over_scale("glorot-initialization", lambda s: (2 / sum(s)) ** 0.5)
    assert ratios == pytest.approx([1, 1], rel=0.05)


def test_layers_of_a_users_own_class_are_drawn_too():
    given = workload(Own)
    assert not model_of(treat(given, "he-initialization", {})).first.get_weights()[1].any()
    assert np.isfinite(run(treat(given, "he-initialization", {}), 5)[0])


def test_recurrent_kernels_become_orthogonal_gate_by_gate_and_others_stay():
    given = workload(sequence())
    made = model_of(treat(given, "orthogonal-initialization", {"gain": 2.0}))
    kernel, recurrent = made.layers[1].get_weights()[:2]
    for gate in np.split(recurrent, 3, axis=1):
        assert np.allclose(gate @ gate.T, 4 * np.eye(6), atol=1e-4)
    assert np.array_equal(kernel, given.model.layers[1].get_weights()[0])


def test_layer_by_layer_every_layer_gives_variance_one():
    given = workload(perceptron(64, 64, activation="tanh"))
    made = model_of(treat(given, "lsuv-initialization", {}))
    x = given.batches[0][0]
    for layer in made.layers:
        if isinstance(layer, layers.Dense):
            before = x @ np.asarray(layer.kernel)
            assert before.std() == pytest.approx(1, rel=1e-4)
            x = np.tanh(before)


def test_layers_come_to_float32_with_their_weights():
    given = workload(mixed(), loss=plain)
    made = model_of(treat(given, "full-precision-weights", dict(PRECISE)))
    assert {layer.compute_dtype for layer in made.layers} == {"float32"}
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), given.model.get_weights(), strict=True))
    with pytest.raises(CannotApply, match="every layer computes in float32 already"):
        treat(workload(), "full-precision-weights", dict(PRECISE))
