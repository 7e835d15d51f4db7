"""Whatever a Trainer does with gradients, the recorded ones are those that its optimizer uses."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import gradscope
import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from gradscope import statistics
from gradscope.history import MISSING, UNOBSERVED
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from tests.adapters.mxnet.training import (
    CLASSES,
    SQUARES,
    classes,
    mlp,
    names_of,
    seeded,
    sgd,
    train,
    untroubled,
    values,
    watched,
    weights_of,
)


def norms(scope: gradscope.Scope, at: int = 0) -> np.ndarray:
    """The gradient norms of one objective, a row a step."""
    untroubled(scope)
    return scope.histories[at]["gradient"].column("gradient_norm")


def recorded(scope: gradscope.Scope, quantity: str) -> list[float]:
    """A quantity of every step."""
    untroubled(scope)
    return scope.histories[0].run(quantity).tolist()


# -- scaling and clipping ----------------------------------------------------------------------------------------------


def test_a_mean_loss_and_a_summed_one_that_step_divides_are_the_same() -> None:
    left, right = mlp(), mlp()
    scope = watched(left, sgd(left), classes(5))
    trainer = sgd(right)
    with gradscope.watch(right, trainer) as other:
        for x, y in classes(5):
            with autograd.record():
                loss = CLASSES(right(x), y).mean()
            loss.backward()
            trainer.step(1)
    np.testing.assert_allclose(norms(scope), norms(other), rtol=1e-4)
    assert recorded(scope, "loss") == pytest.approx(recorded(other, "loss"), rel=1e-5)


def test_the_two_halves_of_a_step_may_be_called_apart() -> None:
    left, right = mlp(), mlp()
    scope = watched(left, sgd(left), classes(5))
    trainer = gluon.Trainer(right.collect_params(), "sgd", {"learning_rate": 0.1}, update_on_kvstore=False)
    with gradscope.watch(right, trainer) as other:
        for x, y in classes(5):
            with autograd.record():
                loss = CLASSES(right(x), y)
            loss.backward()
            trainer.allreduce_grads()
            trainer.update(32)
    np.testing.assert_allclose(norms(scope), norms(other), rtol=1e-5)


def test_clipping_is_seen_as_the_optimizer_sees_its_gradients() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        for x, y in classes(3):
            with autograd.record():
                loss = CLASSES(net(x), y)
            loss.backward()
            gradients = [p.grad() for p in net.collect_params().values()]
            whole = math.hypot(*(statistics.l2_norm(g.asnumpy()) for g in gradients))
            gluon.utils.clip_global_norm(gradients, 0.32)
            trainer.step(32)
    assert recorded(scope, "clip_limit") == pytest.approx([0.01] * 3)
    assert recorded(scope, "clip_before")[-1] == pytest.approx(whole / 32, rel=1e-4)
    assert math.hypot(*norms(scope)[-1]) == pytest.approx(0.01, rel=1e-3)


def test_clipping_of_other_arrays_is_none_of_ours() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        gluon.utils.clip_global_norm([nd.ones((3,))], 0.1)
        train(net, trainer, classes(2))
    assert np.isnan(recorded(scope, "clip_before")).all()


def test_the_optimizers_own_clipping_is_measured() -> None:
    net = mlp()
    scope = watched(net, sgd(net, clip_gradient=0.01), classes(1))
    gradients = [p.grad().asnumpy() / 32 for p in net.collect_params().values()]
    left = math.hypot(*(statistics.l2_norm(np.clip(g, -0.01, 0.01)) for g in gradients))
    assert recorded(scope, "clip_limit") == pytest.approx([left], rel=1e-4)
    assert recorded(scope, "clip_before") == pytest.approx([math.hypot(*norms(scope)[0])], rel=1e-4)


SCALED = """
import mxnet as mx, gradscope
from mxnet import autograd, gluon, nd
from mxnet.contrib import amp
amp.init()
class Net(gluon.Block):
    def __init__(self):
        super().__init__()
        self.weight = self.params.get("weight", shape=(4, 3), init=mx.init.Constant(0.5))
    def forward(self, x):
        return nd.broadcast_mul(x, self.weight.data())
net = Net()
net.initialize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
amp.init_trainer(trainer)
with gradscope.watch(net, trainer) as scope:
    for step in range(4):
        x = nd.ones((4, 3)) * (1e38 if step == 1 else 1)
        with autograd.record():
            loss = net(x).mean(axis=1)
            with amp.scale_loss(loss, trainer) as scaled:
                autograd.backward(scaled)
        trainer.step(4)
report, history = scope.report(), scope.histories[0]
assert not report.failures, report.failures
print(history.run("loss_scale").tolist())
print(history.run("skipped").tolist())
print([round(float(v), 4) for v in history.run("loss")[[0, 2]]])
print([round(float(v), 5) for v in history["gradient"].column("gradient_norm")[[0, 2], 0]])
"""


def test_scaled_losses_and_gradients_are_told_unscaled_and_skipped_steps_as_such() -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCALED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    norm = round(math.sqrt(12) / 12, 5)
    assert done.stdout.splitlines() == [
        "[65536.0, 65536.0, 65536.0, 32768.0]",
        "[0.0, 1.0, 0.0, 0.0]",
        "[0.5, 0.4917]",
        f"[{norm}, {norm}]",
    ]


# -- gradients that are absent, frozen, added up, or sparse ------------------------------------------------------------


def test_a_frozen_layer_is_no_illness() -> None:
    net = mlp()
    net[0].collect_params().setattr("grad_req", "null")
    scope = watched(net, gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01}), classes(60))
    table = scope.histories[0]["gradient"]
    assert (table.series("gradient_norm", "0.weight") == UNOBSERVED).all()
    assert names_of(scope) == set()


class Forgetful(nn.Block):
    """A net one of whose layers never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Dense(3, in_units=8)
        self.forgotten = nn.Dense(3, in_units=8)

    def forward(self, x: Any) -> Any:
        return self.used(x)


def forgetful() -> Any:
    """A fresh one."""
    seeded()
    net = Forgetful()
    net.initialize(mx.init.Xavier())
    return net


def test_a_layer_that_backward_never_reaches_is_missing() -> None:
    net = forgetful()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        for x, y in classes(30):
            with autograd.record():
                loss = CLASSES(net(x), y)
            loss.backward()
            trainer.step(32, ignore_stale_grad=True)
    assert (scope.histories[0]["gradient"].series("gradient_norm", "forgotten.weight") == MISSING).all()
    assert names_of(scope) == {"missing-gradient"}


def test_what_mxnet_refuses_to_step_is_noted_before_it_raises() -> None:
    net = forgetful()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope, pytest.raises(UserWarning, match="has not been updated by backward"):
        train(net, trainer, classes(1))
    table = scope.histories[0]["gradient"]
    missing = {s.name for s in table.subjects if table.series("gradient_norm", s.name)[0] == MISSING}
    assert missing == {"forgotten.weight", "forgotten.bias"}
    assert untroubled(scope).status == "not-judged"


def accumulated(clear: bool, parts: int = 1) -> gradscope.Scope:
    """A loop whose gradients add up."""
    net = mlp()
    net.collect_params().setattr("grad_req", "add")
    trainer = sgd(net, 0.01)
    with gradscope.watch(net, trainer) as scope:
        for at, (x, y) in enumerate(classes(20 * parts)):
            with autograd.record():
                loss = CLASSES(net(x), y)
            loss.backward()
            if at % parts == parts - 1:
                trainer.step(32 * parts)
                if clear:
                    net.collect_params().zero_grad()
    return scope


def test_gradients_that_add_up_and_are_never_cleared_are_stale() -> None:
    scope = accumulated(clear=False)
    assert "stale-gradient" in names_of(scope)
    assert recorded(scope, "carried_over")[1:] == [1.0] * 19


def test_accumulation_over_several_batches_is_no_illness() -> None:
    scope = accumulated(clear=True, parts=2)
    assert "stale-gradient" not in names_of(scope)
    assert (recorded(scope, "carried_over")[1:], recorded(scope, "backward_passes")) == ([0.0] * 19, [2.0] * 20)


def test_gradients_that_are_written_anew_never_carry_over() -> None:
    net = mlp()
    assert recorded(watched(net, sgd(net), classes(5)), "carried_over")[1:] == [0.0] * 4


def test_sparse_gradients_of_an_embedding_equal_dense_ones() -> None:
    found = []
    for sparse in (True, False):
        seeded()
        net = nn.Sequential()
        net.add(nn.Embedding(10, 4, sparse_grad=sparse), nn.Dense(3, in_units=4 * 5))
        net.initialize(mx.init.Xavier())
        trainer = sgd(net)
        with gradscope.watch(net, trainer) as scope:
            tokens = nd.array(np.arange(160).reshape(32, 5) % 7)
            with autograd.record():
                loss = CLASSES(net(tokens), nd.array(np.arange(32) % 3))
            loss.backward()
            trainer.step(32)
        zeros = scope.histories[0]["parameter"].series("gradient_zero_fraction", "0.weight")[0]
        found.append([norms(scope)[0].tolist(), zeros])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == pytest.approx(found[1][1])


def test_gradients_of_float16_are_measured_in_float32_and_its_underflow_against_float16() -> None:
    weight = gluon.Parameter("weight", shape=(4,), dtype="float16", init=mx.init.One())
    net = nn.Block()
    net.weight = weight
    weight.initialize()
    trainer = gluon.Trainer([weight], "sgd", {"learning_rate": 0.1, "multi_precision": True})
    with gradscope.watch(net, trainer) as scope:
        with autograd.record():
            loss = (weight.data() * nd.array([1e-6, 0, 3e4, 4e4], dtype="float16")).sum()
        loss.backward()
        trainer.step(1)
    assert norms(scope)[0].tolist() == pytest.approx([5e4], rel=1e-3)
    assert scope.histories[0]["parameter"].series("gradient_underflow_fraction", "weight").tolist() == [0.25]


def test_a_shared_parameter_counts_once() -> None:
    seeded()
    net = nn.Sequential()
    first = nn.Dense(8, in_units=8)
    net.add(first, nn.Dense(8, in_units=8, params=first.params), nn.Dense(3, in_units=8))
    net.initialize(mx.init.Xavier())
    scope = watched(net, sgd(net), classes(3))
    untroubled(scope)
    assert {s.name for s in scope.histories[0]["gradient"].subjects} == {"0.weight", "0.bias", "2.weight", "2.bias"}


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
