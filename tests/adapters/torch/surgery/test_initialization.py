"""Remedies that draw the weights anew, register them, or change their precision."""

from collections.abc import Callable

import pytest
import torch
from gradscope.errors import CannotApply
from torch import nn

from gradscope_torch.anatomy import anatomy
from gradscope_torch.surgery import treat
from tests.adapters.torch.surgery.workloads import (
    Hidden,
    Sequence,
    half,
    model_of,
    perceptron,
    regression,
    run,
    workload,
)


def deviation_over_scale(remedy: str, scale: Callable[[nn.Linear], float]) -> list[float]:
    """Deviation of the weights of a wide network, over what the remedy says it should be."""
    made = model_of(treat(workload(perceptron(400, 300)), remedy, {}))
    layers = [m for m in made.modules() if isinstance(m, nn.Linear)][:-1]
    assert not any(bool(m.bias.any()) for m in layers)
    return [float(m.weight.detach().std()) / scale(m) for m in layers]


def test_he_draws_by_the_fan_in():
    ratios = deviation_over_scale("he-initialization", lambda m: (2 / m.in_features) ** 0.5)
    assert ratios == pytest.approx([1, 1], rel=0.05)


def test_glorot_draws_by_both_fans():
    ratios = deviation_over_scale("glorot-initialization", lambda m: (2 / (m.in_features + m.out_features)) ** 0.5)
    assert ratios == pytest.approx([1, 1], rel=0.05)


def test_recurrent_matrices_become_orthogonal_gate_by_gate_and_others_stay():
    given = workload(Sequence())
    made = model_of(treat(given, "orthogonal-initialization", {"gain": 2.0}))
    for gate in made.rnn.weight_hh_l0.detach().split(6):
        assert torch.allclose(gate @ gate.T, 4 * torch.eye(6), atol=1e-5)
    assert torch.equal(made.rnn.weight_ih_l0, given.model.rnn.weight_ih_l0)
    assert torch.equal(made.last.weight, given.model.last.weight)


def test_layer_by_layer_every_layer_gives_variance_one():
    given = workload(perceptron(64, 64, 64, activation=nn.Tanh))
    made = model_of(treat(given, "lsuv-initialization", {}))
    seen = anatomy(made, given.batches[0][0])
    assert [float(r.made.std()) for r in seen.layers] == pytest.approx([1, 1, 1, 1], rel=1e-4)


def test_layers_of_a_plain_list_are_registered_and_then_trained():
    given = workload(Hidden())
    made = model_of(treat(given, "register-parameter", {}))
    assert (len(list(given.model.parameters())), len(list(made.parameters()))) == (2, 4)
    _, trained = run(treat(given, "register-parameter", {}), steps=3)
    assert not torch.equal(trained.inner[0].weight, made.inner[0].weight)


def test_weights_inputs_and_targets_come_to_float32():
    given = workload(perceptron(16).bfloat16(), half(regression()))
    made = treat(given, "full-precision-weights", {"precision": "float32"})
    model = model_of(made)
    output = model(given.batches[0][0])
    assert {p.dtype for p in model.parameters()} | {output.dtype} == {torch.float32}
    assert made.loss(output, given.batches[0][1]).dtype == torch.float32


def test_weights_of_float32_are_left_alone():
    with pytest.raises(CannotApply, match="the weights are in float32 already"):
        treat(workload(), "full-precision-weights", {"precision": "float32"})
