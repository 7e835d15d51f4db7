"""Remedies that change the layers: normalizations, activations, shortcuts, outputs; and models that they do not fit."""

import pytest
import torch
from gradscope.errors import CannotApply
from torch import nn
from torch.nn import functional as F

from gradscope_torch.surgery import treat
from tests.adapters.torch.surgery.workloads import (
    Functional,
    Images,
    classes,
    images,
    kinds,
    model_of,
    perceptron,
    plain,
    regression,
    run,
    workload,
)


@pytest.mark.parametrize(
    ("remedy", "kind"),
    [("batch-normalization", "BatchNorm1d"), ("layer-normalization", "LayerNorm"), ("rms-normalization", "RMSNorm")],
)
def test_a_normalization_stands_before_each_hidden_activation(remedy, kind):
    made = model_of(treat(workload(), remedy, {}))
    assert kinds(made) == ["Linear", kind, "ReLU", "Linear", kind, "ReLU", "Linear"]


def test_a_normalization_finds_activations_that_are_calls():
    made = model_of(treat(workload(Functional()), "batch-normalization", {}))
    assert kinds(made) == ["Linear", "BatchNorm1d", "Linear"]
    assert made.first[1].num_features == 16


@pytest.mark.parametrize(
    ("remedy", "kind"), [("batch-normalization", "BatchNorm2d"), ("layer-normalization", "GroupNorm")]
)
def test_a_normalization_of_images_has_their_dimensions(remedy, kind):
    assert kinds(model_of(treat(workload(Images(), images()), remedy, {})))[:3] == ["Conv2d", kind, "ReLU"]


def test_a_network_that_is_normalized_is_not_normalized_again():
    normalized = model_of(treat(workload(), "batch-normalization", {}))
    with pytest.raises(CannotApply, match=r"^layer-normalization: no layer \(Linear, Conv\) without a normalization"):
        treat(workload(normalized), "layer-normalization", {})


def test_no_batch_normalization_over_single_samples():
    with pytest.raises(CannotApply, match="the batches hold one sample each"):
        treat(workload(batches=regression(size=1)), "batch-normalization", {})


def test_hidden_activations_are_replaced_and_that_of_the_output_stays():
    given = workload(perceptron(16, 16, activation=nn.Sigmoid, output=nn.Sigmoid))
    made = model_of(treat(given, "replace-activation", {"activation": "leaky_relu"}))
    assert kinds(made) == ["Linear", "LeakyReLU", "Linear", "LeakyReLU", "Linear", "Sigmoid"]
    assert made[1].negative_slope == 0.1


def test_a_path_leads_around_layers_that_keep_the_width():
    given = workload(perceptron(16, 16, 16))
    made = model_of(treat(given, "residual-connection", {}))
    assert kinds(made) == ["Linear", "ReLU", "Linear", "ReLU", "Identity", "Linear", "ReLU", "Identity", "Linear"]
    x = given.batches[0][0]
    first = given.model[:2](x)
    assert torch.allclose(made[:4](x), first + given.model[2:4](first))


@pytest.mark.parametrize(
    ("ending", "output", "expected"),
    [
        (nn.Softmax, "linear", ["Linear", "Identity"]),
        (nn.Softmax, "sigmoid", ["Linear", "Sigmoid"]),
        (None, "sigmoid", ["Linear", "Sigmoid"]),
        (None, "log_softmax", ["Linear", "LogSoftmax"]),
    ],
)
def test_the_output_ends_as_the_loss_wants_it(ending, output, expected):
    given = workload(perceptron(16, output=ending))
    assert kinds(model_of(treat(given, "correct-output", {"output": output})))[2:] == expected


def test_an_activation_before_a_reshape_is_the_last_one():
    given = workload(nn.Sequential(perceptron(16, output=nn.Softmax), nn.Flatten(0)), loss=plain)
    made = model_of(treat(given, "correct-output", {"output": "sigmoid"}))
    assert kinds(made) == ["Linear", "ReLU", "Linear", "Sigmoid", "Flatten"]


def test_the_loss_is_corrected_where_it_is_the_wrong_one():
    given = workload(perceptron(16), [(x, y) for x, y in classes()], F.cross_entropy)
    settings = {"output": "linear", "loss": "binary_cross_entropy_with_logits"}
    loss, model = run(treat(given, "correct-output", settings), steps=200)
    assert loss < 0.45
    assert kinds(model) == ["Linear", "ReLU", "Linear"]


def test_a_model_that_does_not_run_with_a_remedy_is_refused():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.last(torch.relu(self.first(x))) * self.first.weight.sum()

    with pytest.raises(CannotApply, match="the model does not run with it: AttributeError"):
        treat(workload(Reads()), "batch-normalization", {})


def test_layers_inside_a_transformer_are_found_and_its_attention_is_left_alone():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.last = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 1)

        def forward(self, x):
            return self.last(self.block(x[:, None].repeat(1, 3, 1)).mean(1))

    given = treat(workload(Reader()), "layer-normalization", {})
    made = model_of(given)
    assert [type(m).__name__ for m in made.block.linear1] == ["Linear", "LayerNorm"]
    assert type(made.block.self_attn.out_proj).__name__ == "NonDynamicallyQuantizableLinear"
    with pytest.raises(CannotApply, match=r"no layer \(Linear, Conv\) without a normalization is followed by"):
        treat(workload(Reader()), "batch-normalization", {})


def test_a_layer_that_is_used_twice_is_normalized_once():
    shared = nn.Linear(8, 8)
    given = workload(nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1)))
    made = model_of(treat(given, "layer-normalization", {}))
    assert made[0] is made[2]
    assert kinds(made) == ["Linear", "LayerNorm", "ReLU", "ReLU", "Linear"]


def test_a_model_that_fails_by_itself_is_refused():
    with pytest.raises(CannotApply, match="the model does not run with it: RuntimeError: mat1 and mat2"):
        treat(workload(nn.Linear(5, 1)), "batch-normalization", {})
