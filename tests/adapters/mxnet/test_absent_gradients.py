"""Gradients that are absent, frozen, added up, sparse or shared."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

from typing import Any

import gradscope
import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from gradscope.history import MISSING, UNOBSERVED
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from tests.adapters.mxnet.training import (
    CLASSES,
    classes,
    mlp,
    names_of,
    norms,
    recorded,
    seeded,
    sgd,
    train,
    untroubled,
    watched,
)


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
