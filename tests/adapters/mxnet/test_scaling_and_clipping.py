"""Gradients that a Trainer or a user scales or clips are recorded as the optimizer uses them."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

import math
import subprocess
import sys

import gradscope
import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from gradscope import statistics
from mxnet import autograd, gluon, nd

from tests.adapters.mxnet.training import (
    CLASSES,
    classes,
    mlp,
    norms,
    recorded,
    sgd,
    train,
    watched,
)


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
