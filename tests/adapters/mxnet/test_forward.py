"""What a step with full statistics shows of blocks, activations, losses and inputs."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

from typing import Any

import gradscope
import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from gradscope import statistics
from gradscope.history import History
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from tests.adapters.mxnet.training import (
    CLASSES,
    SQUARES,
    classes,
    mlp,
    seeded,
    sgd,
    train,
    untroubled,
    values,
    watched,
)


def first(history: History, table: str, quantity: str, subject: str) -> float:
    """The value of the first row."""
    return float(history[table].series(quantity, subject)[0])


def ready(net: Any) -> Any:
    """The net with Xavier weights."""
    seeded()
    net.initialize(mx.init.Xavier())
    return net


def seen(net: Any, batches: Any = None, loss: Any = CLASSES) -> History:
    """The history of one step."""
    scope = watched(net, sgd(net, 0.0), classes(1) if batches is None else batches, loss)
    untroubled(scope)
    return scope.histories[0]


def test_blocks_are_measured_as_by_the_oracle() -> None:
    net = mlp("tanh")
    history = seen(net)
    x = next(classes(1))[0]
    hidden = net[0](x)
    wanted = statistics.output_statistics(hidden.asnumpy(), x.asnumpy())
    found = [first(history, "module", quantity, "0") for quantity in statistics.MODULE_STATISTICS]
    assert found == pytest.approx(wanted.tolist(), rel=1e-4)
    saturated = statistics.saturated_fraction(hidden.asnumpy(), "tanh")
    assert first(history, "module", "saturated_fraction", "0 > tanh") == pytest.approx(saturated)


def test_the_input_is_measured_where_data_enters() -> None:
    history = seen(mlp())
    assert [s.name for s in history["input"].subjects] == ["0"]
    x = next(classes(1))[0].asnumpy()
    quantities = ("mean", "deviation", "abs_max", "feature_ratio", "largest_feature", "nonfinite")
    found = [first(history, "input", quantity, "0") for quantity in quantities]
    assert found == pytest.approx(statistics.data_statistics(x).tolist(), rel=1e-4)


def test_blocks_stand_in_the_order_in_which_they_ran() -> None:
    class Backwards(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Dense(3, in_units=8)
            self.begin = nn.Dense(8, in_units=8)

        def forward(self, x: Any) -> Any:
            return self.last(self.begin(x))

    history = seen(ready(Backwards()))
    orders = {s.name: first(history, "module", "order", s.name) for s in history["module"].subjects}
    assert sorted(orders, key=orders.__getitem__) == ["begin", "last", ""]


def test_the_graph_of_a_hybridized_net_gives_that_order_too() -> None:
    class Backwards(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Dense(3, in_units=8)
            self.begin = nn.Dense(8, in_units=8)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.last(F.relu(self.begin(x)))

    net = ready(Backwards())
    net.hybridize()
    history = seen(net)
    orders = {s.name: first(history, "module", "order", s.name) for s in history["module"].subjects}
    assert sorted(orders, key=orders.__getitem__) == ["begin", "last", ""]
    assert history["module"].subject("").traits["root"]


WAYS = {
    "an argument of the layer": lambda: [nn.Dense(6, in_units=8, activation="relu")],
    "a block": lambda: [nn.Dense(6, in_units=8), nn.Activation("relu")],
    "a function": lambda: [nn.Dense(6, in_units=8), nn.Lambda(lambda x: nd.relu(x) * 1)],
    "a function with a type": lambda: [nn.Dense(6, in_units=8), nn.Lambda(lambda x: nd.Activation(x, "relu"))],
    "a method": lambda: [nn.Dense(6, in_units=8), nn.Lambda(lambda x: x.relu())],
}


@pytest.mark.parametrize("way", WAYS)
def test_dead_units_are_counted_however_the_activation_is_called(way: str) -> None:
    net = nn.Sequential()
    net.add(*WAYS[way](), nn.Dense(3, in_units=6))
    ready(net)
    net[0].bias.set_data(nd.array([-100, -100, 0, 0, 0, 0]))
    scope = watched(net, sgd(net, 0.0), classes(5))
    untroubled(scope)
    table = scope.histories[0]["module"]
    name = next(s.name for s in table.subjects if s.name.endswith("> relu"))
    assert name == "0 > relu"
    assert table.series("dead_fraction", name)[-1] == pytest.approx(2 / 6)
    assert np.isnan(table.series("dead_fraction", name)[0])


@pytest.mark.parametrize("fused", [True, False])
def test_the_units_of_a_convolution_are_its_channels(fused: bool) -> None:
    net = nn.HybridSequential()
    if fused:
        net.add(nn.Conv2D(4, 3, in_channels=1, activation="relu"))
    else:
        net.add(nn.Conv2D(4, 3, in_channels=1), nn.BatchNorm(in_channels=4), nn.Activation("relu"))
    net.add(nn.Dense(3))
    ready(net)
    if fused:
        net[0].bias.set_data(nd.array([-100, 0, 0, 0]))
    else:
        net[1].beta.set_data(nd.array([-100, 0, 0, 0]))
    images = ((nd.random.normal(shape=(32, 1, 6, 6)), nd.arange(32) % 3) for _ in range(5))
    scope = watched(net, sgd(net, 0.0), images)
    untroubled(scope)
    table = scope.histories[0]["module"]
    name = next(s.name for s in table.subjects if s.name.endswith("> relu"))
    assert table.series("dead_fraction", name)[-1] == 0.25


def test_gates_of_recurrent_cells_are_no_activations() -> None:
    class Reader(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.cell = gluon.rnn.LSTMCell(6, input_size=2)
            self.head = nn.Dense(3, in_units=6)

        def forward(self, x: Any) -> Any:
            outputs, _ = self.cell.unroll(4, x.reshape((-1, 4, 2)), merge_outputs=False)
            return self.head(outputs[-1])

    history = seen(ready(Reader()))
    assert {s.name for s in history["module"].subjects} == {"cell", "head", ""}


def test_fused_recurrent_layers_are_seen() -> None:
    class Reader(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.body = gluon.rnn.GRU(6, input_size=2, layout="NTC")
            self.head = nn.Dense(3, in_units=24)

        def forward(self, x: Any) -> Any:
            return self.head(self.body(x.reshape((-1, 4, 2))))

    history = seen(ready(Reader()))
    assert {s.name for s in history["module"].subjects} == {"body", "head", ""}
    assert {s.name for s in history["gradient"].subjects} > {"body.l0_i2h_weight", "head.weight"}


# -- losses ------------------------------------------------------------------------------------------------------------

LABELS = {
    "SoftmaxCrossEntropyLoss": (gluon.loss.SoftmaxCrossEntropyLoss(), "cross_entropy"),
    "from_logits": (gluon.loss.SoftmaxCrossEntropyLoss(from_logits=True), "nll_loss"),
}
TARGETS = {
    "L2Loss": (gluon.loss.L2Loss(), "mse_loss"),
    "L1Loss": (gluon.loss.L1Loss(), "l1_loss"),
    "HuberLoss": (gluon.loss.HuberLoss(), "huber_loss"),
    "SigmoidBCELoss": (gluon.loss.SigmoidBCELoss(), "binary_cross_entropy_with_logits"),
    "from_sigmoid": (gluon.loss.SigmoidBCELoss(from_sigmoid=True), "binary_cross_entropy"),
    "LogisticLoss": (gluon.loss.LogisticLoss(), "LogisticLoss"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_losses_of_classes_are_understood(kind: str) -> None:
    loss, function = LABELS[kind]
    subject = seen(mlp(), loss=loss)["loss"].subjects[0]
    assert (subject.traits["function"], subject.traits["classes"], subject.traits["layer"]) == (function, True, "2")
    assert subject.source is not None
    assert "training.py:" in subject.source


@pytest.mark.parametrize("kind", TARGETS)
def test_losses_of_values_are_understood(kind: str) -> None:
    loss, function = TARGETS[kind]
    history = seen(mlp(out=1), values(1), loss)
    site = history["loss"].subjects[0].name
    assert history["loss"].subjects[0].traits["function"] == function
    assert first(history, "loss", "broadcast", site) == 0
    y = next(values(1))[1].asnumpy()
    found = [first(history, "loss", f"target_{q}", site) for q in ("mean", "deviation", "min", "max")]
    assert found == pytest.approx(statistics.spread(y).tolist(), rel=1e-5)


def test_the_parts_of_a_loss_are_no_activations_of_the_net() -> None:
    history = seen(mlp("tanh", out=1), values(1), gluon.loss.SigmoidBCELoss())
    assert {s.name for s in history["module"].subjects} == {"0", "0 > tanh", "1", "1 > tanh", "2", ""}


def test_a_difference_by_hand_that_broadcasts_is_named() -> None:
    net = mlp(out=1)
    scope = watched(net, sgd(net, 0.01), values(60), lambda p, y: ((p - y.reshape((-1,))) ** 2).mean())
    assert "broadcast-loss" in {v.name for v in untroubled(scope).verdicts}


def test_softmax_before_a_loss_that_applies_it_is_named() -> None:
    net = mlp()
    scope = watched(net, sgd(net), classes(60), lambda p, y: CLASSES(nd.softmax(p), y))
    assert "output-loss-mismatch" in {v.name for v in untroubled(scope).verdicts}


def test_an_unprotected_logarithm_of_a_probability_is_seen() -> None:
    history = seen(mlp(), loss=lambda p, y: -nd.log(nd.softmax(p)).pick(y))
    assert [s.traits["function"] for s in history["loss"].subjects] == ["log"]


def test_unscaled_inputs_are_named() -> None:
    scale = nd.array([1, 1, 1, 1, 1, 1, 1, 1e4])
    net = mlp()
    scope = watched(net, sgd(net, 0.01), ((x * scale, y) for x, y in classes(60)))
    assert "unscaled-input" in {v.name for v in untroubled(scope).verdicts}


def test_evaluation_is_not_looked_at() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        net(nd.ones((5, 8)) * 1e6)
        with autograd.predict_mode():
            net(nd.ones((5, 8)) * 1e6)
        train(net, trainer, classes(1))
    assert first(scope.histories[0], "input", "abs_max", "0") < 10


def test_nets_of_mx_np_are_watched_alike() -> None:
    mx.npx.set_np()
    try:
        net = ready(nn.HybridSequential())
        net.add(nn.Dense(16, in_units=8, activation="relu"), nn.Dense(1, in_units=16))
        net.initialize(mx.init.Xavier())
        trainer = sgd(net, 0.05)
        with gradscope.watch(net, trainer) as scope:
            for x, y in values(60):
                with autograd.record():
                    loss = SQUARES(net(x.as_np_ndarray()), y.as_np_ndarray())
                loss.backward()
                trainer.step(32)
    finally:
        mx.npx.reset_np()
    report = untroubled(scope)
    assert (report.status, report.verdicts) == ("healthy", ())
    assert {s.name for s in scope.histories[0]["module"].subjects} == {"0", "0 > relu", "1", ""}
