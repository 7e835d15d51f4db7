"""Remedies as they are called: one after another, around a model of own code, refused with the reason."""

import keras
import pytest
from gradscope.errors import CannotApply

from gradscope_tensorflow.surgery import HERE, REMEDIES, treat
from tests.adapters.tensorflow.surgery.workloads import (
    Own,
    graph,
    kinds,
    model_of,
    perceptron,
    regression,
    run,
    workload,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


@pytest.mark.parametrize("build", [graph, lambda: perceptron(16, 16)])
def test_remedies_follow_one_another(build):
    given = workload(build(), [(50 + 9 * x, 1000 + 200 * y) for x, y in regression()])
    made = treat(given, "standardize-input", {})
    made = treat(made, "scale-target", {"mean": 1000.0, "deviation": 200.0})
    made = treat(made, "batch-normalization", {})
    made = treat(made, "dropout", {"probability": 0.1})
    found = kinds(model_of(made))
    assert (found[0], found[-1], found.count("BatchNormalization"), found.count("Dropout")) == (
        "Normalization",
        "Rescaling",
        2,
        2,
    )
    assert run(made, 100)[0] < 0.3 * 200**2


def test_a_model_of_own_code_takes_layers_before_and_behind_it():
    given = workload(Own, [(50 + 9 * x, 1000 + 200 * y) for x, y in regression()])
    made = treat(treat(given, "standardize-input", {}), "scale-target", {"mean": 1000.0, "deviation": 200.0})
    assert run(made, 100)[0] < 0.3 * 200**2


@pytest.mark.parametrize(
    ("remedy", "make", "settings", "text"),
    [
        ("batch-normalization", lambda: workload(Own), {}, "the layers of a Own are called by its own code"),
        ("batch-normalization", lambda: workload(batches=regression(size=1)), {}, "hold one sample each"),
        ("replace-activation", workload, {"activation": "relu"}, "no hidden activation is other than relu"),
        ("replace-activation", workload, {"activation": "cube"}, "no activation is called 'cube'; there are elu,"),
        ("open-output", workload, {"output": "linear"}, "the model ends in no activation that could be dropped"),
        ("residual-connection", lambda: workload(perceptron(16, 4)), {}, "no hidden layer keeps the width"),
        ("random-crops", workload, {"padding": 4}, "inputs of shape (32, 8) are no images [N, H, W, C]"),
        ("loss-scaling", workload, {"scale": 1024.0}, "keras.optimizers.LossScaleOptimizer"),
        ("register-parameter", workload, {}, "Keras registers layers itself"),
        ("smooth-operation", workload, {}, "the operation without a slope stands in the program's own code"),
        ("leech", workload, {}, "not known to the trainer of tensorflow; it knows accumulate-gradients, "),
        (
            "batch-normalization",
            lambda: workload(batches=[(x[:, :5], y) for x, y in regression()]),
            {},
            "the model does not run with it: ValueError",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(remedy, make, settings, text):
    with pytest.raises(CannotApply) as caught:
        treat(make(), remedy, settings)
    assert str(caught.value).startswith(f"{remedy}: ")
    assert text in str(caught.value)


def test_nothing_is_both_known_and_refused():
    assert not set(HERE) & set(REMEDIES)
