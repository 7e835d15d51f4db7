"""Sick workloads that a remedy is known to cure."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradscope.scope import Scope
from gradscope.settings import Settings
from gradscope.workload import Workload

from gradscope_tensorflow.surgery import treat
from tests.adapters.tensorflow.surgery.workloads import (
    ADAPTER,
    classes,
    penalized,
    perceptron,
    plain,
    poisoned,
    regression,
    run,
    sgd,
    workload,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


def too_large_kernels() -> Any:
    """Four layers whose weights are four times too large."""
    made = perceptron(32, 32, 32)
    made.set_weights([4 * w for w in made.get_weights()])
    return made


def deep_sigmoid() -> Workload:
    """Eight sigmoid layers: nothing is learnt."""
    return workload(perceptron(*[16] * 8, activation="sigmoid"), optimizer=lambda _weights: keras.optimizers.Adam(0.01))


CURES = [
    ("batch-normalization", {}, deep_sigmoid),
    ("he-initialization", {}, lambda: workload(too_large_kernels(), optimizer=sgd(1e-2))),
    ("lsuv-initialization", {}, lambda: workload(too_large_kernels(), optimizer=sgd(1e-2))),
    ("clip-gradient-norm", {"max_norm": 0.1}, lambda: workload(too_large_kernels(), optimizer=sgd(0.1))),
    ("lower-learning-rate", {"factor": 0.01}, lambda: workload(optimizer=sgd(5.0))),
    ("raise-learning-rate", {"factor": 1e4}, lambda: workload(optimizer=sgd(1e-5))),
    ("standardize-input", {}, lambda: workload(batches=[(500 + 90 * x, y) for x, y in regression()])),
    (
        "scale-target",
        {"mean": 1e4, "deviation": 2e3},
        lambda: workload(batches=[(x, 1e4 + 2e3 * y) for x, y in regression()]),
    ),
    ("weaken-penalty", {"factor": 1e-6}, lambda: workload(penalized(), optimizer=sgd(0.02))),
    ("check-data", {}, lambda: workload(batches=poisoned())),
    ("open-output", {"output": "linear"}, lambda: workload(perceptron(16, output="sigmoid"))),
    ("match-shapes", {}, lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
]


@pytest.mark.parametrize(("remedy", "settings", "make"), CURES, ids=[c[0] for c in CURES])
def test_a_known_cure_cures(remedy, settings, make):
    sick, cured = (run(w, 100)[0] for w in (make(), treat(make(), remedy, settings)))
    assert np.isfinite(cured)
    assert not sick <= 1.5 * cured, (sick, cured)


@pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis:UserWarning")
def test_a_softmax_over_one_unit_is_cured_which_the_predictions_show():
    """The loss does not: Keras computes it from the scores that the softmax was given."""

    def accuracy(output: Any, target: Any) -> Any:
        return tf.cast((output > 0.5) == (target > 0.5), "float32")

    given = workload(perceptron(16, output="softmax"), classes(), "binary_crossentropy", metric=accuracy)
    sick, cured = (ADAPTER.fresh(w, 0) for w in (given, treat(given, "correct-output", {"output": "sigmoid"})))
    for ready in (sick, cured):
        ADAPTER.train(Scope(Settings(steps=100)), ready)
    assert ADAPTER.evaluate(sick).metric < 0.6
    assert ADAPTER.evaluate(cured).metric > 0.85
