"""The layers of the reference: each backward is the slope of its forward, in float64, and the gradient of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradscope.errors import UsageError
from gradscope.reference.activations import ELU, GELU, Flatten, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from gradscope.reference.dropout import Dropout
from gradscope.reference.layers import Conv, Dense, Pass
from gradscope.reference.model import Model
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm, LayerNorm
from gradscope.reference.pooling import MaxPool

RANDOM = np.random.default_rng(3)
ROWS = RANDOM.normal(size=(6, 5))
PICTURES = RANDOM.normal(size=(3, 6, 5, 2))
LAYERS = {
    "leaky relu": (LeakyReLU("a"), ROWS),
    "elu": (ELU("a", 1.5), ROWS),
    "gelu": (GELU("a"), ROWS),
    "layer normalization of rows": (LayerNorm("a", 5), ROWS),
    "layer normalization of pictures": (LayerNorm("a", 6), RANDOM.normal(size=(3, 4, 2, 6))),
    "max pooling": (MaxPool("a"), PICTURES),
    "max pooling of three": (MaxPool("a", 3), PICTURES),
    "dropout": (Dropout("a"), ROWS),
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


def torch_function(layer: Any) -> Any:
    """The same layer as a function of torch, of (weights, input) in the reference's order."""
    import torch
    from torch.nn import functional as F

    def convolution(w: Any, x: Any) -> Any:
        out = F.conv2d(x.permute(0, 3, 1, 2), w["kernel"].permute(3, 2, 0, 1), w.get("bias"))
        return out.permute(0, 2, 3, 1)

    def normalization(w: Any, x: Any) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        return F.batch_norm(flat, None, None, w["gamma"], w["beta"], training=True, eps=1e-5).reshape(x.shape)

    def pooling(_w: Any, x: Any) -> Any:
        return F.max_pool2d(x.permute(0, 3, 1, 2), layer.width).permute(0, 2, 3, 1)

    table: dict[Any, Any] = {
        Dense: lambda w, x: x @ w["kernel"] + w["bias"],
        Conv: convolution,
        BatchNorm: normalization,
        LayerNorm: lambda w, x: F.layer_norm(x, x.shape[-1:], w["gamma"], w["beta"], eps=1e-5),
        MaxPool: pooling,
        ReLU: lambda _w, x: F.relu(x),
        LeakyReLU: lambda _w, x: F.leaky_relu(x, 0.01),
        ELU: lambda _w, x: F.elu(x, 1.5),
        GELU: lambda _w, x: F.gelu(x),
        Sigmoid: lambda _w, x: torch.sigmoid(x),
        Tanh: lambda _w, x: torch.tanh(x),
        Softmax: lambda _w, x: F.softmax(x, -1),
        Flatten: lambda _w, x: x.flatten(1),
    }
    return table[type(layer)]


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (Dense("a", 5, 4), ROWS),
        (Conv("a", 2, 3), PICTURES),
        (BatchNorm("a", 5), ROWS),
        (BatchNorm("a", 2), PICTURES),
        (ReLU("a"), ROWS),
        (Sigmoid("a"), ROWS),
        (Tanh("a"), ROWS),
        (Softmax("a"), ROWS),
        (Flatten("a"), PICTURES),
        *[pair for name, pair in LAYERS.items() if name != "dropout"],
    ],
)
def test_a_layer_and_its_backward_are_those_of_torch(layer: Any, given: Any) -> None:
    torch = pytest.importorskip("torch")
    weights = {k: RANDOM.normal(size=shape) for k, shape in layer.shapes().items()}
    out, kept = layer.forward(weights, given)
    direction = RANDOM.normal(size=out.shape)
    back, gradients = layer.backward(weights, kept, direction)
    x = torch.tensor(given, requires_grad=True)
    held = {k: torch.tensor(w, requires_grad=True) for k, w in weights.items()}
    result = torch_function(layer)(held, x)
    result.backward(torch.tensor(direction))
    assert out == pytest.approx(result.detach().numpy(), rel=1e-10, abs=1e-12)
    assert back == pytest.approx(x.grad.numpy(), rel=1e-9, abs=1e-12)
    for key, gradient in gradients.items():
        assert gradient == pytest.approx(held[key].grad.numpy(), rel=1e-9, abs=1e-12), key


def test_the_first_of_equal_values_gets_the_slope_of_a_pool() -> None:
    layer = MaxPool("a")
    out, kept = layer.forward({}, np.ones((1, 2, 3, 1)))
    back, _ = layer.backward({}, kept, np.full((1, 1, 1, 1), 7.0))
    assert out.tolist() == [[[[1.0]]]]
    assert back[0, :, :, 0].tolist() == [[7, 0, 0], [0, 0, 0]]


# -- batch normalization, whose numbers are those of torch and of Keras ------------------------------------------------


def passes(layer: BatchNorm, given: list[Any], dtype: str) -> tuple[list[Any], Any, dict[str, Any]]:
    """(outputs in training, output of the last input in evaluation, what is remembered)."""
    network = Network((layer,))
    model = Model(network, {"a.gamma": GAMMA.astype(dtype), "a.beta": BETA.astype(dtype)})
    outputs = [network.forward(model.weights, x.astype(dtype), model.at(training=True))[0] for x in given]
    return outputs, model(given[-1]), model.state


GAMMA, BETA = RANDOM.normal(size=4), RANDOM.normal(size=4)
BATCHES = {
    "rows": [RANDOM.normal(size=(8, 4)) * 3 + 1 for _ in range(3)],
    "pictures": [RANDOM.normal(size=(2, 3, 3, 4)) * 3 - 1 for _ in range(3)],
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", BATCHES)
def test_batch_normalization_is_that_of_torch(kind: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    pictures = kind == "pictures"
    made = (torch.nn.BatchNorm2d if pictures else torch.nn.BatchNorm1d)(4, momentum=0.1)
    made = made.double() if dtype == "f8" else made
    with torch.no_grad():
        made.weight.copy_(torch.tensor(GAMMA))
        made.bias.copy_(torch.tensor(BETA))

    def through(x: Any) -> Any:
        t = torch.tensor(x.astype(dtype))
        out = made(t.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if pictures else made(t)
        return out.detach().numpy()

    wanted = [through(x) for x in BATCHES[kind]]
    made.eval()
    last = through(BATCHES[kind][-1])
    outputs, evaluated, state = passes(BatchNorm("a", 4, momentum=0.9, unbiased=True), BATCHES[kind], dtype)
    for found, known in zip(outputs, wanted, strict=True):
        assert found == pytest.approx(known, abs=1e-6 * float(np.abs(known).max()))
    assert evaluated == pytest.approx(last, abs=1e-6 * float(np.abs(last).max()))
    assert state["a.moving_mean"] == pytest.approx(made.running_mean.numpy(), abs=1e-6)
    assert state["a.moving_variance"] == pytest.approx(made.running_var.numpy(), abs=1e-6)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", BATCHES)
def test_batch_normalization_is_that_of_keras(kind: str, dtype: str) -> None:
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    made = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype={"f4": "float32", "f8": "float64"}[dtype])
    made.build(BATCHES[kind][0].shape)
    made.gamma.assign(GAMMA)
    made.beta.assign(BETA)
    layer = BatchNorm("a", 4)
    weights = {"gamma": GAMMA.astype(dtype), "beta": BETA.astype(dtype)}
    direction = RANDOM.normal(size=BATCHES[kind][0].shape).astype(dtype)
    for given in BATCHES[kind]:
        x = tf.constant(given.astype(dtype))
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = made(x, training=True)
        back, gamma, beta = tape.gradient(out, [x, made.gamma, made.beta], output_gradients=tf.constant(direction))
        mine, kept = layer.forward(weights, given.astype(dtype))
        found, gradients = layer.backward(weights, kept, direction)
        assert mine == pytest.approx(out.numpy(), abs=1e-6 * float(np.abs(mine).max()))
        assert found == pytest.approx(back.numpy(), abs=1e-6)
        assert gradients["gamma"] == pytest.approx(np.asarray(gamma), rel=1e-5, abs=1e-6)
        assert gradients["beta"] == pytest.approx(np.asarray(beta), rel=1e-5, abs=1e-6)
    _, evaluated, state = passes(layer, BATCHES[kind], dtype)
    last = made(BATCHES[kind][-1].astype(dtype), training=False).numpy()
    assert evaluated == pytest.approx(last, abs=1e-6 * float(np.abs(last).max()))
    assert state["a.moving_mean"] == pytest.approx(np.asarray(made.moving_mean), abs=1e-6)
    assert state["a.moving_variance"] == pytest.approx(np.asarray(made.moving_variance), rel=1e-6)


def test_the_moving_averages_are_those_one_works_out_by_hand() -> None:
    x = np.array([[1.0], [3.0]])
    for unbiased, variance in ((False, 1.0), (True, 2.0)):
        at = Pass(True, {f"a.{k}": v for k, v in BatchNorm("a", 1).states().items()})
        layer = BatchNorm("a", 1, momentum=0.75, unbiased=unbiased)
        layer.run({"gamma": np.ones(1), "beta": np.zeros(1)}, x, at)
        assert at.state["a.moving_mean"].tolist() == [0.25 * 2]
        assert at.state["a.moving_variance"].tolist() == [0.75 + 0.25 * variance]


def test_a_batch_of_one_is_refused_in_training_and_passes_in_evaluation() -> None:
    layer = BatchNorm("norm1", 4)
    model = Model(Network((layer,)))
    one = np.ones((1, 4), "f4")
    with pytest.raises(UsageError) as caught:
        model.network.forward(model.weights, one, model.at(training=True))
    assert str(caught.value) == (
        "norm1: batch normalization needs at least two values per feature in training, got an input of shape (1, 4); "
        "give larger batches, or use layer normalization"
    )
    assert model(one) == pytest.approx(one, abs=1e-5)


def test_the_backward_in_evaluation_takes_mean_and_variance_for_fixed() -> None:
    layer = BatchNorm("a", 5)
    state = {"a.moving_mean": RANDOM.normal(size=5), "a.moving_variance": RANDOM.uniform(0.5, 2, size=5)}
    weights = {"gamma": RANDOM.normal(size=5), "beta": RANDOM.normal(size=5)}
    given, direction = ROWS.copy(), RANDOM.normal(size=ROWS.shape)

    def value() -> float:
        return float((layer.run(weights, given, Pass(False, state))[0] * direction).sum())

    _, kept = layer.run(weights, given, Pass(False, state))
    assert layer.backward(weights, kept, direction)[0] == pytest.approx(slope_of(value, given), abs=1e-8)


# -- dropout -----------------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_is_the_same_for_the_same_seed() -> None:
    layer, ones = Dropout("a", 0.3), np.ones((200, 100), "f4")
    first, second, other = (
        layer.run({}, ones, Pass(True, random=np.random.default_rng(seed)))[0] for seed in (1, 1, 2)
    )
    assert (first == second).all()
    assert (first != other).any()
    assert set(np.unique(first)) == {0, np.float32(1 / np.float32(0.7))}
    assert (first == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert first.mean() == pytest.approx(1, abs=0.02)
    assert first.dtype == np.float32


def test_dropout_lets_everything_pass_in_evaluation_and_its_backward_follows_its_mask() -> None:
    layer = Dropout("a")
    assert (layer.run({}, ROWS, Pass(False))[0] == ROWS).all()
    out, kept = layer.run({}, ROWS, Pass(True, random=np.random.default_rng(0)))
    assert (layer.backward({}, kept, np.ones_like(ROWS))[0] == np.where(out == 0, 0, 2)).all()


def test_everything_is_dropped_at_a_rate_of_one() -> None:
    out, _ = Dropout("a", 1.0).run({}, ROWS, Pass(True, random=np.random.default_rng(0)))
    assert (out == 0).all()
