"""The reference is right: every hand-written gradient is that of finite differences in float64, every optimizer is its
formula worked out with plain numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from gradscope import Scope, statistics
from gradscope.reference.activations import Flatten, ReLU, Sigmoid, Softmax, Tanh
from gradscope.reference.layers import Conv, Dense
from gradscope.reference.losses import LOSSES, log_loss, mean_squared_error, softmax_cross_entropy
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.optimizers import SGD, Adam, clip_norm
from gradscope.reference.trainer import train

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(6, 5))
PICTURES = RANDOM.normal(size=(3, 6, 5, 2))
LAYERS = {
    "dense": (Dense("a", 5, 4), ROWS),
    "dense without bias": (Dense("a", 5, 4, bias=False), ROWS),
    "convolution": (Conv("a", 2, 3), PICTURES),
    "convolution of width two without bias": (Conv("a", 2, 3, width=2, bias=False), PICTURES),
    "normalization of rows": (BatchNorm("a", 5), ROWS),
    "normalization of pictures": (BatchNorm("a", 2), PICTURES),
    "relu": (ReLU("a"), ROWS),
    "sigmoid": (Sigmoid("a"), ROWS),
    "tanh": (Tanh("a"), ROWS),
    "softmax": (Softmax("a"), ROWS),
    "flatten": (Flatten("a"), PICTURES),
}


def slope_of(value: Any, at: Any, size: float = 1e-6) -> Any:
    """Central differences of a number for every entry of an array, which is changed on the way and put back."""
    found = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        kept = at[i]
        at[i] = kept + size
        above = value()
        at[i] = kept - size
        found[i] = (above - value()) / (2 * size)
        at[i] = kept
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_the_backward_of_a_layer_is_the_slope_of_its_forward(name: str) -> None:
    layer, given = LAYERS[name]
    given = given.copy()
    weights = {k: RANDOM.normal(size=shape) for k, shape in layer.shapes().items()}
    out, kept = layer.forward(weights, given)
    direction = RANDOM.normal(size=out.shape)

    def value() -> float:
        return float((layer.forward(weights, given)[0] * direction).sum())

    back, gradients = layer.backward(weights, kept, direction)
    assert back == pytest.approx(slope_of(value, given), abs=1e-8)
    assert set(gradients) == set(weights)
    for key, gradient in gradients.items():
        assert gradient == pytest.approx(slope_of(value, weights[key]), abs=1e-8), key


@pytest.mark.parametrize(
    ("name", "prediction", "target"),
    [
        ("mean_squared_error", RANDOM.normal(size=(6, 2)), RANDOM.normal(size=(6, 2))),
        ("squared_difference", RANDOM.normal(size=(6, 1)), RANDOM.normal(size=6)),
        ("squared_difference", RANDOM.normal(size=6), RANDOM.normal(size=(6, 1))),
        ("softmax_cross_entropy", RANDOM.normal(size=(6, 4)), np.array([0, 1, 2, 3, 0, 1])),
        ("log_loss", RANDOM.uniform(0.1, 0.9, size=(6, 1)), np.array([[0.0], [1], [1], [0], [1], [0]])),
    ],
)
def test_the_gradient_of_a_loss_is_its_slope(name: str, prediction: Any, target: Any) -> None:
    value, gradient = LOSSES[name](prediction, target)
    assert np.isfinite(value)
    assert gradient.shape == prediction.shape
    assert gradient == pytest.approx(slope_of(lambda: LOSSES[name](prediction, target)[0], prediction), abs=1e-8)


def test_losses_have_the_values_that_one_works_out_by_hand() -> None:
    assert mean_squared_error(np.array([[1.0], [3.0]]), np.array([0.0, 0.0]))[0] == pytest.approx(5)
    assert softmax_cross_entropy(np.zeros((3, 4)), np.array([0, 1, 2]))[0] == pytest.approx(math.log(4))
    assert softmax_cross_entropy(np.array([[1e4, 0.0]]), np.array([1]))[0] == pytest.approx(1e4)
    assert log_loss(np.array([[0.25]]), np.array([[1.0]]))[0] == pytest.approx(math.log(4))
    assert math.isnan(log_loss(np.array([[1.0]]), np.array([[1.0]]))[0])


def test_a_whole_network_has_the_gradient_of_its_loss() -> None:
    layers = (Conv("c", 2, 3), BatchNorm("n", 3), ReLU("r"), Flatten("f"), Dense("d", 36, 4))
    network = Network(layers)
    weights = {k: w.astype("f8") for k, w in network.initial(1).items()}
    labels = np.array([0, 3, 2])
    _, gradients = network.gradients(weights, softmax_cross_entropy, PICTURES, labels)
    assert list(gradients) == list(weights) == ["c.kernel", "c.bias", "n.gamma", "n.beta", "d.kernel", "d.bias"]

    def value() -> float:
        return float(network.gradients(weights, softmax_cross_entropy, PICTURES, labels)[0])

    for name, gradient in gradients.items():
        assert gradient == pytest.approx(slope_of(value, weights[name]), abs=1e-7), name


def test_precision_is_that_of_what_is_given() -> None:
    network = Network((Conv("c", 2, 3), BatchNorm("n", 3), Tanh("t"), Flatten("f"), Dense("d", 36, 4), Softmax("s")))
    for dtype in ("f4", "f8"):
        weights = {k: w.astype(dtype) for k, w in network.initial(1).items()}
        value, gradients = network.gradients(weights, mean_squared_error, PICTURES.astype(dtype), np.zeros((3, 4)))
        assert {str(g.dtype) for g in gradients.values()} == {str(np.dtype(dtype))} == {str(value.dtype)}
        stepped = [o.step(weights, gradients) for o in (SGD(0.1), Adam(0.1), Adam(0.1, hat=True))]
        assert {str(w.dtype) for one in stepped for w in one.values()} == {str(np.dtype(dtype))}


def test_sgd_is_its_formula() -> None:
    weights = {"w": np.array([1.0, 2.0])}
    assert SGD(0.5).step(weights, {"w": np.array([2.0, -2.0])})["w"].tolist() == [0.0, 3.0]
    assert weights["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("hat", [False, True])
def test_adam_is_its_formula(hat: bool) -> None:
    adam, w, m, v = Adam(0.1, epsilon=1e-3, hat=hat), 1.0, 0.0, 0.0
    held = {"w": np.array([w])}
    for t, g in enumerate((0.5, -0.25, 0.01), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        low, high = 1 - 0.9**t, 1 - 0.999**t
        if hat:
            w -= 0.1 * math.sqrt(high) / low * m / (math.sqrt(v) + 1e-3)
        else:
            w -= 0.1 * (m / low) / (math.sqrt(v / high) + 1e-3)
        held = adam.step(held, {"w": np.array([g])})
        assert held["w"][0] == pytest.approx(w, rel=1e-12)


def test_the_two_forms_of_adam_part_where_gradients_are_small() -> None:
    first = {h: Adam(1.0, hat=h).step({"w": np.zeros(2)}, {"w": np.array([1e-6, 1.0])})["w"] for h in (False, True)}
    assert first[False] == pytest.approx([-1 / 1.01, -1], rel=1e-6)
    assert first[True] == pytest.approx([-1 / (1 + 0.01 / math.sqrt(0.001)), -1], rel=1e-6)


def test_clipping_scales_all_gradients_together() -> None:
    gradients = {"a": np.array([3.0], "f4"), "b": np.array([4.0], "f4")}
    assert [float(g[0]) for g in clip_norm(gradients, 1.0).values()] == pytest.approx([0.6, 0.8])
    assert clip_norm(gradients, 10.0)["a"][0] == 3
    assert clip_norm({"a": np.zeros(1, "f4")}, 1.0)["a"][0] == 0


def test_initial_weights_keep_the_size_of_a_signal() -> None:
    network = Network(tuple(Dense(f"d{i}", 256, 256, bias=False) for i in range(4)))
    weights = network.initial(0, gain=1.0)
    out, _ = network.forward(weights, np.random.default_rng(0).normal(size=(64, 256)).astype("f4"))
    assert statistics.deviation(out) == pytest.approx(1, rel=0.2)


def test_a_scope_is_told_of_every_step_and_the_trainer_changes_nothing_that_it_is_given() -> None:
    network = Network((Dense("d", 5, 1),))
    weights, scope = network.initial(0), Scope()
    before = {k: w.copy() for k, w in weights.items()}
    batch = (ROWS.astype("f4"), ROWS[:, :1].astype("f4"))
    after = train(network, weights, mean_squared_error, SGD(0.1), [batch] * 30, scope)
    assert all((weights[k] == before[k]).all() and (after[k] != before[k]).any() for k in weights)
    loss = scope.histories[0].run("loss")
    assert len(loss) == 30
    assert loss[-1] < 0.5 * loss[0]
    assert [s.name for s in scope.histories[0]["gradient"].subjects] == ["d.kernel", "d.bias"]
