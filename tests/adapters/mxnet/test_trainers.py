"""Trainers: shapes that are found out, devices, several trainers, learning rates."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

import gradscope
import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from tests.adapters.mxnet.training import (
    CLASSES,
    SQUARES,
    classes,
    mlp,
    norms,
    recorded,
    seeded,
    sgd,
    train,
    untroubled,
    values,
    watched,
    weights_of,
)

# -- shapes that are found out, devices, several trainers --------------------------------------------------------------


@pytest.mark.parametrize("hybrid", [False, True])
def test_parameters_whose_shape_the_first_batch_tells_are_recorded_from_the_first_step(hybrid: bool) -> None:
    seeded()
    net = nn.HybridSequential()
    net.add(nn.Dense(16, activation="relu"), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    if hybrid:
        net.hybridize()
    trainer = sgd(net)
    scope = watched(net, trainer, classes(3))
    assert (norms(scope) > 0).all()
    assert next(s.traits["shape"] for s in scope.histories[0]["gradient"].subjects if s.name == "0.weight") == (16, 8)


@pytest.mark.parametrize("on_kvstore", [False, True])
def test_gradients_of_several_devices_are_added_up(on_kvstore: bool) -> None:
    alone = mlp()
    one = watched(alone, sgd(alone), classes(5))
    contexts = [mx.cpu(0), mx.cpu(1)]
    net = mlp()
    net.collect_params().reset_ctx(contexts)
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"learning_rate": 0.1}, kvstore="local", update_on_kvstore=on_kvstore
    )
    with gradscope.watch(net, trainer) as both:
        for x, y in classes(5):
            parts = [gluon.utils.split_and_load(a, contexts) for a in (x, y)]
            with autograd.record():
                losses = [CLASSES(net(a), b) for a, b in zip(*parts, strict=True)]
            autograd.backward(losses)
            trainer.step(32)
    assert trainer._update_on_kvstore is on_kvstore
    np.testing.assert_allclose(norms(one), norms(both), rtol=1e-4)
    assert recorded(both, "loss") == pytest.approx(recorded(one, "loss"), rel=1e-5)
    left, right = (s.histories[0]["parameter"].column("update_norm") for s in (one, both))
    np.testing.assert_allclose(left, right, rtol=1e-3)


def test_two_trainers_with_losses_of_their_own_compete() -> None:
    makers = mlp(out=8), mlp(out=1)
    trainers = [sgd(n, 0.01) for n in makers]
    score = gluon.loss.SigmoidBinaryCrossEntropyLoss()
    with gradscope.watch(list(makers), trainers) as scope:
        for x, y in classes(10):
            with autograd.record():
                loss = score(makers[1](x), nd.ones_like(y)) + score(makers[1](makers[0](x).detach()), nd.zeros_like(y))
            loss.backward()
            trainers[1].step(32)
            with autograd.record():
                loss = score(makers[1](makers[0](x)), nd.ones_like(y))
            loss.backward()
            trainers[0].step(32)
    untroubled(scope)
    assert [h.steps for h in scope.histories] == [10, 10]
    assert all(h.facts.get("competing") for h in scope.histories)
    subjects = [
        {s.name.split(".")[0] for s in h["gradient"].subjects if s.traits["optimized"]} for h in scope.histories
    ]
    assert subjects == [{makers[1].name}, {makers[0].name}]


def test_a_trainer_that_is_made_anew_continues_its_predecessor() -> None:
    net = mlp()
    with gradscope.watch(net) as scope:
        for rate in (0.1, 0.05, 0.01):
            train(net, sgd(net, rate), classes(4))
    assert recorded(scope, "learning_rate") == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.01] * 4)
    assert len(scope.histories) == 1


def test_a_pass_of_another_net_is_none_of_ours() -> None:
    net, other = mlp(), mlp()
    trainer, theirs = sgd(net), sgd(other)
    with gradscope.watch(net, trainer) as scope:
        for x, y in classes(4):
            with autograd.record():
                loss = SQUARES(other(x), x[:, :3] * 1e6)
            loss.backward()
            theirs.step(32)
            train(net, trainer, iter([(x, y)]))
    assert recorded(scope, "backward_passes") == [1.0] * 4
    assert max(recorded(scope, "loss")) < 10


# -- learning rates ----------------------------------------------------------------------------------------------------


def test_the_rate_is_the_one_that_the_step_used() -> None:
    net = mlp()
    schedule = mx.lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=0.4)
    scope = watched(net, gluon.Trainer(net.collect_params(), "sgd", {"lr_scheduler": schedule}), classes(6))
    assert recorded(scope, "learning_rate") == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1, 0.1])


class Counting(mx.lr_scheduler.LRScheduler):
    """A schedule that goes by how often it was asked."""

    def __init__(self) -> None:
        super().__init__(base_lr=0.1)
        self.asked = 0

    def __call__(self, num_update: int) -> float:
        self.asked += 1
        return 0.1 / self.asked


def test_a_schedule_of_the_users_own_is_not_asked_more_often() -> None:
    found = []
    for observed in (False, True):
        net = mlp()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"lr_scheduler": Counting()})
        if observed:
            untroubled(watched(net, trainer, values(6), lambda p, y: SQUARES(p[:, :1], y)))
        else:
            train(net, trainer, values(6), lambda p, y: SQUARES(p[:, :1], y))
        found.append((trainer.optimizer.lr_scheduler.asked, weights_of(net)[0].tolist()))
    assert found[0] == found[1]
