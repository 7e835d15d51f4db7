"""Remedies that change the layers: normalizations, activations, shortcuts, outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradscope.errors import CannotApply
from keras import layers

from gradscope_tensorflow.surgery import treat
from tests.adapters.tensorflow.surgery.workloads import (
    classes,
    graph,
    images,
    kinds,
    model_of,
    perceptron,
    picture,
    plain,
    run,
    workload,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("remedy", "kind"),
    [
        ("batch-normalization", "BatchNormalization"),
        ("layer-normalization", "LayerNormalization"),
        ("rms-normalization", "RMSNormalization"),
    ],
)
def test_a_normalization_stands_before_each_hidden_activation(remedy, kind, apart):
    given = workload(perceptron(16, 16, apart=apart))
    made = model_of(treat(given, remedy, {}))
    assert kinds(made) == ["Dense", kind, "Activation(relu)"] * 2 + ["Dense"]
    assert np.array_equal(made.layers[1].get_weights()[0], given.model.get_weights()[0])


def test_branches_of_a_functional_model_stay():
    given = workload(graph())
    made = model_of(treat(given, "batch-normalization", {}))
    assert kinds(made).count("BatchNormalization") == 2
    assert kinds(made).count("Add") == 1


@pytest.mark.parametrize(
    ("remedy", "kind"), [("batch-normalization", "BatchNormalization"), ("layer-normalization", "GroupNormalization")]
)
def test_a_normalization_of_images_is_one_over_channels(remedy, kind):
    made = model_of(treat(workload(picture(), images()), remedy, {}))
    assert kinds(made)[:3] == ["Conv2D", kind, "Activation(relu)"]


def test_a_network_that_is_normalized_is_not_normalized_again():
    normalized = model_of(treat(workload(), "batch-normalization", {}))
    with pytest.raises(CannotApply, match=r"^layer-normalization: no layer \(Dense, Conv\) without a normalization"):
        treat(workload(normalized), "layer-normalization", {})


@pytest.mark.parametrize("apart", [False, True])
def test_hidden_activations_are_replaced_and_that_of_the_output_stays(apart):
    given = workload(perceptron(16, 16, activation="sigmoid", output="sigmoid", apart=apart))
    made = model_of(treat(given, "replace-activation", {"activation": "leaky_relu"}))
    assert kinds(made) == ["Dense", "LeakyReLU", "Dense", "LeakyReLU", "Dense(sigmoid)"]


@pytest.mark.parametrize("apart", [False, True])
def test_a_path_leads_around_layers_that_keep_the_width(apart):
    given = workload(perceptron(16, 16, apart=apart))
    made = model_of(treat(given, "residual-connection", {}))
    x = given.batches[0][0]
    weights = given.model.get_weights()
    first = np.maximum(x @ weights[0] + weights[1], 0)
    second = first + np.maximum(first @ weights[2] + weights[3], 0)
    assert np.allclose(made(x), second @ weights[4] + weights[5], atol=1e-5)


@pytest.mark.parametrize(
    ("ending", "output", "expected"),
    [
        ("softmax", "linear", ["Dense", "Activation"]),
        ("softmax", "sigmoid", ["Dense", "Activation(sigmoid)"]),
        (None, "sigmoid", ["Dense", "Activation(sigmoid)"]),
        (None, "log_softmax", ["Dense", "Activation(log_softmax)"]),
    ],
)
def test_the_output_ends_as_the_loss_wants_it(ending, output, expected):
    given = workload(perceptron(16, output=ending))
    made = model_of(treat(given, "correct-output", {"output": output}))
    assert kinds(made) == ["Dense(relu)", *expected]


def test_an_activation_before_a_reshape_is_the_last_one():
    stack = keras.Sequential([keras.Input((8,)), layers.Dense(1), layers.Softmax(), layers.Reshape((1, 1))])
    made = model_of(treat(workload(stack, loss=plain), "correct-output", {"output": "sigmoid"}))
    assert kinds(made) == ["Dense", "Activation(sigmoid)", "Reshape"]


def test_the_loss_is_corrected_where_it_is_the_wrong_one():
    batches = [(x, y[:, 0].astype("i4")) for x, y in classes()]
    given = workload(perceptron(16), batches, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    settings = {"output": "linear", "loss": "binary_cross_entropy_with_logits"}
    made = treat(given, "correct-output", settings)
    assert run(made, 100)[0] < 0.5
    assert float(made.loss(tf.zeros((4, 1)), tf.constant([0, 1, 1, 0]))) == pytest.approx(np.log(2))


def test_a_sequential_without_an_input_is_built_by_the_first_batch():
    given = workload(lambda: keras.Sequential([layers.Dense(16, "relu"), layers.Dense(1)]))
    assert kinds(model_of(treat(given, "batch-normalization", {})))[1] == "BatchNormalization"
    assert np.isfinite(run(treat(given, "scale-target", {"mean": 0.0, "deviation": 2.0}), 3)[0])
