"""watch() of a net of Gluon: the verdicts on known illnesses, what is recorded, and what is refused."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradscope
import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from gradscope import statistics
from gradscope.errors import CannotJudge, UsageError
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

import gradscope_mxnet
from tests.adapters.mxnet.training import (
    CLASSES,
    SQUARES,
    classes,
    mlp,
    names_of,
    sgd,
    train,
    untroubled,
    values,
    watched,
    weights_of,
)


def adam(net: Any, rate: float = 0.01) -> gluon.Trainer:
    """Adam over all parameters of a net."""
    return gluon.Trainer(net.collect_params(), "adam", {"learning_rate": rate})


def logarithm_of_a_negative(scores: Any, labels: Any) -> Any:
    """A loss that is NaN."""
    return nd.log(nd.pick(nd.softmax(scores), labels) - 1)


# -- verdicts ----------------------------------------------------------------------------------------------------------

SICK: dict[str, tuple[Callable[[], Any], Callable[[Any], gluon.Trainer], Any, set[str]]] = {
    "eight layers of sigmoids": (lambda: mlp("sigmoid", 8), sgd, CLASSES, {"vanishing-gradient"}),
    "biases of -100 before ReLUs": (lambda: mlp(depth=3, bias=-100.0), sgd, CLASSES, {"dead-units", "zero-gradient"}),
    "a learning rate of zero": (mlp, lambda net: sgd(net, 0.0), CLASSES, {"unchanged-parameter"}),
    "a learning rate of ten thousand": (
        lambda: mlp(depth=3),
        lambda net: sgd(net, 1e4),
        CLASSES,
        {"oversized-update", "non-finite-loss", "non-finite-gradient", "non-finite-parameter"},
    ),
    "the logarithm of a negative number": (
        mlp,
        adam,
        logarithm_of_a_negative,
        {"non-finite-loss", "non-finite-gradient", "non-finite-parameter"},
    ),
}
"""The same networks in PyTorch get the same verdicts."""


@pytest.mark.parametrize("illness", SICK)
def test_an_illness_has_exactly_these_verdicts(illness: str) -> None:
    make, trainer, loss, wanted = SICK[illness]
    net = make()
    assert names_of(watched(net, trainer(net), classes(120), loss)) == wanted


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_net_that_learns_is_healthy(hybrid: bool) -> None:
    net = mlp()
    if hybrid:
        net.hybridize()
    report = untroubled(watched(net, adam(net), classes(100)))
    assert (report.status, report.verdicts) == ("healthy", ())


def test_a_hybridized_net_is_judged_by_the_order_in_its_graph() -> None:
    net = mlp("sigmoid", 8)
    net.hybridize()
    scope = watched(net, sgd(net), classes(120))
    assert names_of(scope) == {"vanishing-gradient"}
    assert scope.limits == {
        "activations": "the net is hybridized: what its blocks put out is seen by `gradscope check` only"
    }


def test_dead_units_are_told_of_the_layer_that_has_them() -> None:
    net = mlp(depth=3, bias=-100.0)
    verdicts = untroubled(watched(net, sgd(net), classes(120))).verdicts
    assert next(v.module for v in verdicts if v.name == "dead-units") == "0"


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_the_watch_of_the_adapter_is_the_watch_of_gradscope() -> None:
    net = mlp()
    trainer = adam(net)
    with gradscope_mxnet.watch(net, trainer) as scope:
        train(net, trainer, classes(20))
    assert gradscope_mxnet.watch is gradscope.watch
    assert (untroubled(scope).watched["framework"], scope.histories[0].steps) == ("mxnet", 20)


def test_gradients_are_those_of_the_mean_over_the_batch() -> None:
    net = mlp()
    x, y = next(classes(1))
    with autograd.record():
        mean = CLASSES(net(x), y).mean()
    mean.backward()
    wanted = {p.name: statistics.l2_norm(p.grad().asnumpy()) for p in net.collect_params().values()}
    history = watched(net, sgd(net), classes(1)).histories[0]
    found = history["gradient"].column("gradient_norm")[0]
    assert sorted(found.tolist()) == pytest.approx(sorted(wanted.values()), rel=1e-4)


def test_every_quantity_of_a_step_is_that_of_the_oracle() -> None:
    net = mlp()
    trainer = sgd(net, 0.3)
    before = weights_of(net)
    history = watched(net, trainer, classes(1)).histories[0]
    table = history["parameter"]
    after, gradients = weights_of(net), [p.grad().asnumpy() / 32 for p in net.collect_params().values()]
    names = [f"{at}.{kind}" for at in range(3) for kind in ("weight", "bias")]
    for name, old, new, gradient in zip(names, before, after, gradients, strict=True):
        norm, moved = statistics.parameter_change(old, new)
        wanted = {
            "gradient_zero_fraction": statistics.zero_fraction(gradient),
            "gradient_abs_max": statistics.abs_max(gradient),
            "gradient_underflow_fraction": 0.0,
            "parameter_norm": statistics.l2_norm(old),
            "parameter_deviation": statistics.deviation(old),
            "update_norm": norm,
            "moved_fraction": moved,
            "nonfinite": 0.0,
        }
        found = {quantity: float(table.series(quantity, name)[0]) for quantity in wanted}
        assert found == pytest.approx(wanted, rel=1e-4)


def test_norms_are_taken_in_every_step_and_everything_else_in_few() -> None:
    net = mlp()
    history = watched(net, sgd(net), classes(70)).histories[0]
    assert history["gradient"].steps.tolist() == list(range(70))
    assert history["parameter"].steps.tolist() == [0, 1, 2, 4, 8, 16, 32, 64]
    assert history["module"].steps.tolist() == [0, 1, 2, 4, 8, 16, 32, 64]


def test_the_loss_is_the_mean_over_the_batch() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        losses = train(net, trainer, classes(20))
    assert list(scope.histories[0].run("loss")) == pytest.approx(losses, rel=1e-6)


def test_a_loss_that_nobody_heard_can_be_logged() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        for x, y in classes(3):
            with autograd.record():
                loss = CLASSES(net(x), y).mean()
            weights = [p.data() for p in net.collect_params().values()]
            for parameter, gradient in zip(
                net.collect_params().values(), autograd.grad(loss, weights, retain_graph=True), strict=True
            ):
                parameter.grad()[:] = gradient
            trainer.step(1, ignore_stale_grad=True)
            scope.log(loss=loss.asscalar())
    assert np.isfinite(scope.histories[0].run("loss")).all()


def test_the_size_of_the_batch_and_the_classes_are_seen_at_the_loss() -> None:
    net = mlp()
    history = watched(net, sgd(net), classes(1)).histories[0]
    assert history.run("batch_size")[0] == 32
    labels = next(classes(1))[1].asnumpy().astype(int)
    assert [c.tolist() for c in history.classes.values()] == [np.bincount(labels, minlength=3).tolist()]


def test_half_of_the_square_is_told_as_the_square() -> None:
    net = mlp(out=1)
    scope = watched(net, sgd(net, 0.01), values(1), SQUARES)
    table = scope.histories[0]["loss"]
    site = table.subjects[0].name
    assert table.subjects[0].traits["function"] == "mse_loss"
    found = (table.series("value", site)[0], table.series("prediction_squared_error", site)[0])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_parameters_are_named_as_in_the_file_that_the_net_saves() -> None:
    class Net(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.body = nn.HybridSequential()
                self.body.add(nn.Dense(4, in_units=8, activation="relu"), nn.BatchNorm(in_channels=4))
                self.scale = self.params.get("scale", shape=(1,), init="ones")
                self.head = nn.Dense(3, in_units=4)

        def hybrid_forward(self, F: Any, x: Any, scale: Any) -> Any:
            return self.head(self.body(x)) * scale

    net = Net()
    net.initialize()
    history = watched(net, sgd(net), classes(2)).histories[0]
    names = {s.name for s in history["gradient"].subjects}
    trained = {k for k, p in net._collect_params_with_prefix().items() if p.grad_req != "null"}
    assert (
        names
        == trained
        == {"scale", *(f"{m}.{k}" for m in ("body.0", "head") for k in ("weight", "bias"))}
        | {
            "body.1.gamma",
            "body.1.beta",
        }
    )


# -- what is refused ---------------------------------------------------------------------------------------------------


def frozen() -> Any:
    """A net without a parameter that is trained."""
    net = nn.Dense(1, in_units=1)
    net.collect_params().setattr("grad_req", "null")
    return net


@pytest.mark.parametrize(
    ("net", "trainer", "error", "message"),
    [
        (lambda: [mlp(), "net"], lambda _: None, UsageError, r"watch\(\): expected a mxnet.gluon.Block, got str 'net'"),
        (lambda: nn.Dense, lambda _: None, UsageError, r"watch\(\): expected a mxnet.gluon.Block, got type"),
        (mlp, lambda _: "sgd", UsageError, r"watch\(\): expected a mxnet.gluon.Trainer, got str"),
        (mlp, lambda _: sgd(mlp()), UsageError, r"watch\(\): this Trainer holds no parameter of the net"),
        (lambda: nn.Activation("relu"), lambda _: None, CannotJudge, r"watch\(\): Activation has no parameter"),
        (frozen, lambda _: None, CannotJudge, r"watch\(\): Dense has no parameter that requires a gradient"),
    ],
)
def test_what_cannot_be_watched_is_refused(net: Any, trainer: Any, error: type[Exception], message: str) -> None:
    made = net()
    with pytest.raises(error, match=message):
        gradscope.watch(made, trainer(made))


def test_a_scope_without_a_step_could_not_judge() -> None:
    net = mlp()
    with gradscope.watch(net, sgd(net)) as scope:
        pass
    assert scope.report().status == "not-judged"


def test_without_a_trainer_every_one_that_holds_the_nets_parameters_counts() -> None:
    net, other = mlp(), mlp()
    with gradscope.watch(net) as scope:
        train(other, sgd(other), classes(3))
        train(net, sgd(net), classes(5))
    assert [h.steps for h in scope.histories] == [5]
    assert math.isfinite(scope.histories[0].run("loss")[-1])
