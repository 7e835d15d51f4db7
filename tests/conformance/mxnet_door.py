"""Plans in MXNet's Gluon, trained as one would, under each of the ways in which gradscope observes them."""

from __future__ import annotations

from typing import Any

import gradscope
import mxnet as mx
from gradscope import Scope
from gradscope.reference.activations import Flatten
from gradscope.reference.layers import Array, Conv, Dense, Layer
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.plans import DECAYS, Plan
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from gradscope_mxnet.session import Session

HAT = True
"""Whether its Adam is the form with epsilon-hat."""
NAMES = {"weight": "kernel", "bias": "bias", "gamma": "gamma", "beta": "beta"}


class Flat(nn.HybridBlock):
    """Channels last, then flat: the order of the reference."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Shape (samples, everything else)."""
        return F.flatten(F.transpose(x, axes=(0, 2, 3, 1)))


class Softmax(nn.HybridBlock):
    """Softmax over the last dimension."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """The shape of what is given."""
        return F.softmax(x)


class Net(nn.HybridBlock):
    """The layers as attributes, so that they have the names of the plan."""

    def __init__(self, plan: Plan):
        super().__init__()
        self._order = [layer.name for layer in plan.network.layers]
        for layer in plan.network.layers:
            setattr(self, layer.name, block(layer))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """One layer after the other."""
        for name in self._order:
            x = getattr(self, name)(x)
        return x


def block(layer: Layer) -> Any:
    """The block of a layer."""
    if isinstance(layer, Dense):
        return nn.Dense(layer.outputs, use_bias=layer.bias, in_units=layer.inputs, flatten=False)
    if isinstance(layer, Conv):
        return nn.Conv2D(layer.outputs, layer.width, use_bias=layer.bias, in_channels=layer.inputs)
    if isinstance(layer, BatchNorm):
        return nn.BatchNorm(epsilon=layer.epsilon, in_channels=layer.features)
    if isinstance(layer, Flatten):
        return Flat()
    name = type(layer).__name__.lower()
    return Softmax() if name == "softmax" else nn.Activation(name)


def model_of(plan: Plan) -> Net:
    """The network with its weights."""
    net = Net(plan)
    net.initialize()
    for name, parameter in net._collect_params_with_prefix().items():
        if reference_name(name) in plan.weights:
            parameter.set_data(nd.array(arranged(plan.weights[reference_name(name)])))
    return net


def arranged(weight: Array) -> Array:
    """A weight in MXNet's order: outputs first."""
    if weight.ndim == 2:
        return weight.T.copy()
    return weight.transpose(3, 2, 0, 1).copy() if weight.ndim == 4 else weight


def reference_name(name: str) -> str:
    """What the reference calls a parameter, or a module."""
    head, _, tail = name.rpartition(".")
    return f"{head}.{NAMES[tail]}" if tail in NAMES else name


def loss_of(plan: Plan, output: Any, target: Any) -> Any:
    """The loss of every sample, called or written by hand: MXNet adds them up, and the step divides by their number."""
    if plan.loss == "mean_squared_error":
        return 2 * gluon.loss.L2Loss()(output, target)
    if plan.loss == "softmax_cross_entropy":
        return gluon.loss.SoftmaxCrossEntropyLoss()(output, target)
    if plan.loss == "squared_difference":
        return nd.square(nd.broadcast_sub(output, target.reshape((1, -1)))).mean(axis=1)
    return -(target * nd.log(output) + (1 - target) * nd.log(1 - output)).mean(axis=1)


def train(plan: Plan, net: Net, trainer: Any) -> None:
    """One step a batch."""
    for given, target in plan.batches:
        x = nd.array(given)
        with autograd.record():
            loss = loss_of(plan, net(x.transpose((0, 3, 1, 2)) if x.ndim == 4 else x), nd.array(target))
        loss.backward()
        if plan.limit is not None:
            trainer.allreduce_grads()
            gradients = [p.grad() for p in net.collect_params().values() if p.grad_req != "null"]
            gluon.utils.clip_global_norm(gradients, plan.limit * len(x))
            trainer.update(len(x))
        else:
            trainer.step(len(x))


def observed(plan: Plan, way: str) -> Scope:
    """The closed scope of a training."""
    mx.random.seed(0)
    net = model_of(plan)
    adam = {"beta1": DECAYS[0], "beta2": DECAYS[1], "epsilon": 1e-8}
    settings = {"learning_rate": plan.rate} | (adam if plan.optimizer == "Adam" else {})
    trainer = gluon.Trainer(net.collect_params(), plan.optimizer.lower(), settings)
    if way == "watch":
        with gradscope.watch(net, trainer) as scope:
            train(plan, net, trainer)
        return scope
    scope = Scope()
    with Session(scope):
        train(plan, net, trainer)
    return scope
