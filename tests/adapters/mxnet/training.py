"""Small nets of Gluon, their data, and plain loops: watched, in a session, or bare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradscope
import mxnet as mx
import numpy as np
from gradscope import Report, Scope
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from gradscope_mxnet.session import Session

CLASSES = gluon.loss.SoftmaxCrossEntropyLoss()
SQUARES = gluon.loss.L2Loss()
Batches = Iterator[tuple[nd.NDArray, nd.NDArray]]


def seeded(seed: int = 0) -> None:
    """MXNet draws its initial weights from both generators."""
    mx.random.seed(seed)
    np.random.seed(seed)


def mlp(
    activation: str = "relu", depth: int = 2, *, width: int = 32, out: int = 3, inputs: int = 8, bias: float = 0.0
) -> Any:
    """A net of dense layers with Xavier weights; inputs=0 leaves its first shape to be found out."""
    seeded()
    net = nn.HybridSequential()
    for at in range(depth):
        start = mx.init.Constant(bias)
        net.add(nn.Dense(width, activation=activation, bias_initializer=start, in_units=(inputs if at == 0 else width)))
    net.add(nn.Dense(out, in_units=width))
    net.initialize(mx.init.Xavier())
    return net


def classes(steps: int, size: int = 32) -> Batches:
    """Three classes that a linear map tells apart, 256 samples again and again."""
    random = np.random.default_rng(0)
    x = random.standard_normal((256, 8)).astype("f4")
    y = (x @ random.standard_normal((8, 3))).argmax(1).astype("f4")
    for step in range(steps):
        at = step * size % 256
        yield nd.array(x[at : at + size]), nd.array(y[at : at + size])


def values(steps: int, size: int = 32) -> Batches:
    """A linear target of shape (size, 1)."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((8, 1))
    for _ in range(steps):
        x = random.standard_normal((size, 8))
        yield nd.array(x), nd.array(x @ weights)


def sgd(net: Any, rate: float = 0.1, **settings: Any) -> gluon.Trainer:
    """SGD over all parameters of a net."""
    return gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": rate, **settings})


def train(net: Any, trainer: gluon.Trainer, batches: Batches, loss: Callable[..., Any] = CLASSES) -> list[float]:
    """The plainest of loops; gives the losses."""
    losses = []
    for x, y in batches:
        with autograd.record():
            value = loss(net(x), y)
        value.backward()
        trainer.step(len(x))
        losses.append(float(value.mean().asscalar()))
    return losses


def watched(net: Any, trainer: Any, batches: Batches, loss: Callable[..., Any] = CLASSES) -> Scope:
    """The closed scope of that loop under watch."""
    with gradscope.watch(net, trainer) as scope:
        train(net, trainer, batches, loss)
    return scope


def in_session(loop: Callable[[], Any]) -> Scope:
    """The closed scope of a loop that ran under the session of `gradscope check`."""
    scope = Scope()
    with Session(scope):
        loop()
    return scope


def untroubled(scope: Scope) -> Report:
    """The report, after a look that no part of the observer failed."""
    report = scope.report()
    assert not report.failures, report.failures
    return report


def names_of(scope: Scope) -> set[str]:
    """The names of the verdicts."""
    return {v.name for v in untroubled(scope).verdicts}


def weights_of(net: Any) -> list[np.ndarray]:
    """A copy of all parameters."""
    return [p.data().asnumpy() for p in net.collect_params().values()]


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    """Whether two lists of arrays are equal bit for bit."""
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def norms(scope: gradscope.Scope, at: int = 0) -> np.ndarray:
    """The gradient norms of one objective, a row a step."""
    untroubled(scope)
    return scope.histories[at]["gradient"].column("gradient_norm")


def recorded(scope: gradscope.Scope, quantity: str) -> list[float]:
    """A quantity of every step."""
    untroubled(scope)
    return scope.histories[0].run(quantity).tolist()
