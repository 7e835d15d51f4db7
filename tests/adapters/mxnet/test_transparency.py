"""Training is bit for bit what it is without an observer, whatever the observer does, and close() puts all back."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

import copy
from typing import Any

import gradscope
import pytest

mx = pytest.importorskip("mxnet")

from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from gradscope_mxnet import measure, patches
from tests.adapters.mxnet.training import (
    CLASSES,
    classes,
    in_session,
    mlp,
    same,
    seeded,
    sgd,
    train,
    untroubled,
    watched,
    weights_of,
)

WRAPPED = [
    (gluon.Block, "__call__"),
    (gluon.Block, "__init__"),
    (gluon.HybridBlock, "forward"),
    (gluon.Trainer, "_update"),
    (gluon.Trainer, "_allreduce_grads"),
    (gluon.utils, "clip_global_norm"),
    (autograd, "backward"),
    (nd.NDArray, "backward"),
    (nd.NDArray, "__sub__"),
    (nd, "relu"),
    (nd.op, "sigmoid"),
    (mx.np, "tanh"),
]


def convolutional() -> Any:
    """A net with everything that has a state of its own: batch normalization and dropout."""
    seeded()
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(), nn.Dropout(0.3), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    return net


def images(steps: int) -> Any:
    """The classes, their features as images."""
    for x, y in classes(steps):
        yield nd.tile(x.reshape((-1, 1, 2, 4)), (1, 1, 4, 2)), y


def trained(how: str, hybrid: bool, optimizer: str) -> list[Any]:
    """The weights after twenty steps, bare or under an observer."""
    net = convolutional()
    if hybrid:
        net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": 0.05})
    seeded(1)
    if how == "watch":
        untroubled(watched(net, trainer, images(20)))
    elif how == "session":
        untroubled(in_session(lambda: train(net, trainer, images(20))))
    else:
        train(net, trainer, images(20))
    return weights_of(net)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("how", "hybrid"), [("watch", False), ("watch", True), ("session", False)])
def test_training_is_bit_for_bit_the_same(how: str, hybrid: bool, optimizer: str) -> None:
    assert same(trained(how, hybrid, optimizer), trained("bare", hybrid, optimizer))


def test_close_puts_every_wrapper_back() -> None:
    originals = [vars(owner).get(name) for owner, name in WRAPPED]
    net = mlp()
    scope = gradscope.watch(net, sgd(net))
    assert all(vars(owner).get(name) is not o for (owner, name), o in zip(WRAPPED, originals, strict=True))
    scope.close()
    assert [vars(owner).get(name) for owner, name in WRAPPED] == originals
    assert patches._patches._held == []


def test_what_was_inherited_is_inherited_again() -> None:
    net = mlp()
    gradscope.watch(net, sgd(net)).close()
    assert "backward" not in vars(mx.np.ndarray)


@pytest.mark.parametrize("first", [0, 1])
def test_two_scopes_may_be_closed_in_any_order(first: int) -> None:
    original = gluon.Trainer._update
    nets = [mlp(), mlp()]
    trainers = [sgd(n) for n in nets]
    scopes = [gradscope.watch(n, t) for n, t in zip(nets, trainers, strict=True)]
    for net, trainer in zip(nets, trainers, strict=True):
        train(net, trainer, classes(5))
    scopes[first].close()
    train(nets[1 - first], trainers[1 - first], classes(5))
    scopes[1 - first].close()
    assert [untroubled(s).watched["steps"] for s in scopes] == ([5, 10] if first == 0 else [10, 5])
    assert gluon.Trainer._update is original


def test_what_somebody_else_has_wrapped_since_stays_theirs() -> None:
    net = mlp()
    scope = gradscope.watch(net, sgd(net))
    ours = gluon.utils.clip_global_norm

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    gluon.utils.clip_global_norm = theirs
    try:
        scope.close()
        assert gluon.utils.clip_global_norm is theirs
        trainer = sgd(net)
        with gradscope.watch(net, trainer) as again:
            train(net, trainer, classes(3))
        assert untroubled(again).watched["steps"] == 3
    finally:
        gluon.utils.clip_global_norm = ours
        patches.unlisten(None)
    assert patches._patches._held == []


def test_a_watched_net_can_be_copied_and_saved(tmp_path: Any) -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer):
        train(net, trainer, classes(3))
        net.save_parameters(str(tmp_path / "net.params"))
        trainer.save_states(str(tmp_path / "trainer.states"))
        assert copy.copy(net) is not net
    loaded = mlp()
    loaded.load_parameters(str(tmp_path / "net.params"))
    assert same(weights_of(loaded), weights_of(net))


def test_no_array_of_the_forward_pass_is_held_after_a_step() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        train(net, trainer, classes(3))
        assert scope.watched.recorder.forward._origins == {}


def test_recorded_passes_that_no_step_follows_are_not_held_forever() -> None:
    net = mlp()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        forward = scope.watched.recorder.forward
        x, y = next(classes(1))
        for _ in range(400):
            with autograd.record():
                CLASSES(net(x), y)
        assert max(len(forward._origins), len(forward.notes)) < 1100
        train(net, trainer, classes(3))
    assert untroubled(scope).watched["steps"] == 3


# -- failures ----------------------------------------------------------------------------------------------------------

PARTS = {
    "norms": "mxnet trainers",
    "gradient_statistics": "mxnet trainers",
    "output_statistics": "mxnet blocks",
    "spread": "mxnet blocks",
    "inactive_units": "mxnet functions",
}


def broken(*_: Any, **__: Any) -> Any:
    """What a part of the observer does in these tests."""
    raise ValueError("broken on purpose")


@pytest.mark.parametrize("observer", ["watch", "session"])
@pytest.mark.parametrize("part", PARTS)
def test_a_failing_observer_is_named_and_the_training_goes_on(
    part: str, observer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = mlp()
    train(bare, sgd(bare), classes(5))
    monkeypatch.setattr(measure, part, broken)
    net = mlp()
    trainer = sgd(net)
    if observer == "watch":
        scope = watched(net, trainer, classes(5))
    else:
        scope = in_session(lambda: train(net, trainer, classes(5)))
    report = scope.report()
    assert report.failures[PARTS[part]] == "ValueError: broken on purpose"
    assert report.status == "not-judged"
    assert same(weights_of(bare), weights_of(net))


def doomed(net: Any, trainer: gluon.Trainer) -> None:
    """A step with an operation that fails in the background: MXNet raises when somebody waits for what it made."""
    x, y = next(classes(1))
    with autograd.record():
        noise = nd.random.normal(0, -1, shape=(32, 8))  # a deviation below zero
        loss = CLASSES(net(x + noise), y)
    loss.backward()
    trainer.step(32)
    for parameter in net.collect_params().values():
        parameter.data().asnumpy()


@pytest.mark.parametrize("observer", ["bare", "watch", "session"])
def test_an_error_of_the_users_own_operation_reaches_the_user(observer: str) -> None:
    net = mlp()
    trainer = sgd(net)
    with pytest.raises(mx.MXNetError, match="scale parameter in gaussian has to be positive"):
        if observer == "bare":
            doomed(net, trainer)
        elif observer == "session":
            in_session(lambda: doomed(net, trainer))
        else:
            with gradscope.watch(net, trainer):
                doomed(net, trainer)
    nd.waitall()


def test_a_block_that_raises_leaves_the_next_pass_in_order() -> None:
    class Fragile(nn.Block):
        def forward(self, x: Any) -> Any:
            if len(x) == 1:
                raise ValueError("one sample is too few")
            return x

    net = nn.Sequential()
    net.add(nn.Dense(8, in_units=8), Fragile(), nn.Dense(3, in_units=8))
    net.initialize()
    trainer = sgd(net)
    with gradscope.watch(net, trainer) as scope:
        with autograd.record(), pytest.raises(ValueError, match="too few"):
            net(nd.ones((1, 8)))
        train(net, trainer, classes(3))
    module = scope.histories[0]["module"]
    assert [s.name for s in module.subjects] == ["0", "2", ""]
    untroubled(scope)
