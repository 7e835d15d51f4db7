"""Initialization: remedies that draw the weights of a model anew, from the random stream of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gradscope.errors import CannotApply
from torch import nn

from gradscope_torch.anatomy import LAYERS

Draw = Callable[[torch.Tensor], Any]


def he(weight: torch.Tensor) -> Any:
    """Normal, of deviation sqrt(2 / fan-in) (He et al. 2015)."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def glorot(weight: torch.Tensor) -> Any:
    """Normal, of deviation sqrt(2 / (fan-in + fan-out)) (Glorot & Bengio 2010)."""
    return nn.init.xavier_normal_(weight)


def drawn(model: nn.Module, draw: Draw, remedy: str) -> nn.Module:
    """The weights of dense and convolutional layers drawn anew, their biases zero."""
    layers = [m for m in model.modules() if isinstance(m, LAYERS)]
    if not layers:
        raise CannotApply(f"{remedy}: the model has no Linear and no Conv")
    for layer in layers:
        draw(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model


def orthogonal(model: nn.Module, gain: float, remedy: str) -> nn.Module:
    """Recurrent matrices orthogonal, gate by gate; where there are none, those of dense and convolutional layers."""
    found = False
    for module in model.modules():
        if not isinstance(module, nn.RNNBase | nn.RNNCellBase):
            continue
        for name, p in module.named_parameters(recurse=False):
            if name.startswith("weight_hh"):
                found = True
                for gate in p.detach().split(p.shape[1], dim=0):
                    nn.init.orthogonal_(gate, gain)
    return model if found else drawn(model, lambda w: nn.init.orthogonal_(w, gain), remedy)


def unit_variance(model: nn.Module, inputs: Any, remedy: str) -> nn.Module:
    """Orthogonal weights, each layer scaled in the order they run until the batch leaves it with variance one
    (Mishkin & Matas 2016). With a bias of zero one scaling is exact."""
    drawn(model, nn.init.orthogonal_, remedy)
    done: set[int] = set()

    def scale(layer: nn.Module, _given: Any, made: torch.Tensor) -> torch.Tensor:
        deviation = float(made.std())
        if id(layer) in done or not deviation > 0:
            return made
        done.add(id(layer))
        layer.weight.detach().div_(deviation)
        return made / deviation

    handles = [m.register_forward_hook(scale) for m in model.modules() if isinstance(m, LAYERS)]
    training = model.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model.eval()(inputs)
    model.train(training)
    for handle in handles:
        handle.remove()
    return model
