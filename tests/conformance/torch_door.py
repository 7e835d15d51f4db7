"""Plans in PyTorch, trained as one would, under each of the two ways in which gradscope observes torch."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import gradscope
import torch
from gradscope import Scope
from gradscope.reference.activations import Flatten, ReLU, Sigmoid, Softmax, Tanh
from gradscope.reference.layers import Array, Conv, Dense, Layer
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.plans import DECAYS, Plan
from torch import Tensor, nn

from gradscope_torch.session import Session

NAMES = {"weight": "kernel", "bias": "bias"}
HAT = False
"""Whether its Adam is the form with epsilon-hat."""


class Flat(nn.Module):
    """Channels last, then flat: the order of the reference."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (samples, everything else)."""
        return x.permute(0, 2, 3, 1).flatten(1)


ACTIVATIONS = {ReLU: nn.ReLU, Sigmoid: nn.Sigmoid, Tanh: nn.Tanh, Flatten: Flat}


def module(layer: Layer, images: bool) -> nn.Module:
    """The module of a layer. images: whether it works on images still."""
    if isinstance(layer, Dense):
        return nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
    if isinstance(layer, Conv):
        return nn.Conv2d(layer.inputs, layer.outputs, layer.width, bias=layer.bias)
    if isinstance(layer, BatchNorm):
        return (nn.BatchNorm2d if images else nn.BatchNorm1d)(layer.features, eps=layer.epsilon)
    return nn.Softmax(dim=-1) if isinstance(layer, Softmax) else ACTIVATIONS[type(layer)]()


def model_of(plan: Plan) -> nn.Sequential:
    """The network with its weights."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    images = False
    for layer in plan.network.layers:
        images = (images or isinstance(layer, Conv)) and not isinstance(layer, Flatten)
        modules[layer.name] = module(layer, images)
    model = nn.Sequential(modules)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(arranged(plan.weights[reference_name(name)])))
    return model


def arranged(weight: Array) -> Array:
    """A weight in torch's order: outputs first."""
    if weight.ndim == 2:
        return weight.T.copy()
    return weight.transpose(3, 2, 0, 1).copy() if weight.ndim == 4 else weight


def reference_name(name: str) -> str:
    """What the reference calls a parameter, or a module."""
    head, _, tail = name.rpartition(".")
    if head.startswith("norm"):
        return f"{head}.{'gamma' if tail == 'weight' else 'beta'}"
    return f"{head}.{NAMES[tail]}" if tail in NAMES else name


def loss_of(plan: Plan, output: Tensor, target: Tensor) -> Tensor:
    """The loss, called or written by hand."""
    if plan.loss == "mean_squared_error":
        return nn.functional.mse_loss(output, target)
    if plan.loss == "softmax_cross_entropy":
        return nn.functional.cross_entropy(output, target.long())
    if plan.loss == "squared_difference":
        return ((output - target) ** 2).mean()
    return -(target * torch.log(output) + (1 - target) * torch.log(1 - output)).mean()


def train(plan: Plan, model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    """One step a batch."""
    for given, target in plan.batches:
        x = torch.from_numpy(given)
        optimizer.zero_grad()
        loss = loss_of(plan, model(x.permute(0, 3, 1, 2) if x.dim() == 4 else x), torch.from_numpy(target))
        loss.backward()
        if plan.limit is not None:
            nn.utils.clip_grad_norm_(model.parameters(), plan.limit)
        optimizer.step()


def observed(plan: Plan, way: str) -> Scope:
    """The closed scope of a training."""
    model = model_of(plan)
    kinds: dict[str, Any] = {"SGD": torch.optim.SGD, "Adam": functools.partial(torch.optim.Adam, betas=DECAYS)}
    optimizer = kinds[plan.optimizer](model.parameters(), lr=plan.rate)
    if way == "watch":
        with gradscope.watch(model, optimizer) as scope:
            train(plan, model, optimizer)
        return scope
    scope = Scope()
    with Session(scope):
        train(plan, model, optimizer)
    return scope
