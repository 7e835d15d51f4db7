"""Rebuilding: remedies that put modules into a model, or others in their place. Each changes the model it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from gradscope.errors import CannotApply
from torch import nn

from gradscope_torch.additions import Residual
from gradscope_torch.anatomy import Anatomy, Ran

MADE: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "linear": nn.Identity,
    "log_softmax": lambda: nn.LogSoftmax(1),
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": lambda: nn.Softmax(1),
    "tanh": nn.Tanh,
}
"""Activation, as it is called in settings -> the module."""


def activation(remedy: str, name: Any) -> nn.Module:
    """A module of that name. Raises CannotApply for one that is not known."""
    if name not in MADE:
        raise CannotApply(f"{remedy}: no activation is called {name!r}; there are {', '.join(MADE)}")
    return MADE[name]()


def places(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """(parent, name) of every place where a module stands in a model."""
    return [(p, name) for p in model.modules() for name, child in p._modules.items() if child is module]


def put(model: nn.Module, module: nn.Module, other: nn.Module) -> nn.Module:
    """The model with another module in every place of one; the other itself where it was the model."""
    if module is model:
        return other
    for parent, name in places(model, module):
        parent._modules[name] = other
    return model


def like(module: nn.Module, layer: nn.Module) -> nn.Module:
    """A module with the device and the dtype of a layer, in its mode."""
    weight: Any = layer.weight
    return module.to(weight.device, weight.dtype).train(layer.training)


def once(layers: list[Ran]) -> Iterator[Ran]:
    """Each layer once, however often it ran."""
    seen: set[int] = set()
    for ran in layers:
        if id(ran.layer) not in seen:
            seen.add(id(ran.layer))
            yield ran


def normalized(
    model: nn.Module, seen: Anatomy, remedy: str, make: Callable[[nn.Module, int], nn.Module | None]
) -> nn.Module:
    """A normalization between each hidden layer and its activation. make: from a layer and the dimensions of what it
    gives; None where it does not fit."""
    done = 0
    for ran in once(seen.layers):
        if not ran.hidden or ran.normalized:
            continue
        made = make(ran.layer, ran.made.ndim)
        if made is not None:
            model = put(model, ran.layer, nn.Sequential(ran.layer, like(made, ran.layer)))
            done += 1
    if not done:
        raise CannotApply(f"{remedy}: no layer (Linear, Conv) without a normalization is followed by an activation")
    return model


def batch_normalization(layer: Any, ndim: int) -> nn.Module | None:
    """Over the batch, per channel; for [N, C] and images."""
    if isinstance(layer, nn.Linear):
        return nn.BatchNorm1d(layer.out_features) if ndim == 2 else None
    kinds = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))
    return next((kind(layer.out_channels) for conv, kind in kinds if isinstance(layer, conv)), None)


def layer_normalization(layer: Any, _ndim: int) -> nn.Module | None:
    """Over the features of a sample; over all channels and places of an image."""
    if isinstance(layer, nn.Linear):
        return nn.LayerNorm(layer.out_features)
    channels: int = layer.out_channels
    return nn.GroupNorm(1, channels)


def rms_normalization(layer: nn.Module, _ndim: int) -> nn.Module | None:
    """By the root mean square of the features of a sample."""
    return nn.RMSNorm(layer.out_features) if isinstance(layer, nn.Linear) else None


def reactivated(model: nn.Module, seen: Anatomy, remedy: str, name: str) -> nn.Module:
    """Another activation in the place of each hidden one that is a module; that of the output stays."""
    activation(remedy, name)
    named = dict(model.named_modules())
    other = [n for n, a in seen.activations.items() if a != name]
    chosen = [named[n] for n in other if type(named[n]).__module__ == "torch.nn.modules.activation"]
    if not chosen and other:
        raise CannotApply(f"{remedy}: forward() calls the activations as functions: it must be changed in the source")
    if not chosen:
        raise CannotApply(f"{remedy}: no hidden activation is other than {name}")
    for module in chosen:
        model = put(model, module, MADE[name]().train(module.training))
    return model


def shortened(model: nn.Module, seen: Anatomy, remedy: str) -> nn.Module:
    """A path around each layer and its activation, where a Sequential holds both and they keep the shape."""
    keeping = {id(r.layer) for r in seen.layers if r.hidden and r.given.shape == r.made.shape}
    activations = {n for n in seen.activations if n}
    done = 0
    for name, parent in list(model.named_modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        prefix, children = f"{name}." if name else "", list(parent._modules.items())
        for (_, first), (key, second) in pairwise(children):
            if id(first) in keeping and prefix + key in activations and first is not None and second is not None:
                own = next(k for k, child in children if child is first)
                parent._modules[own] = Residual(nn.Sequential(first, second))
                parent._modules[key] = nn.Identity()
                done += 1
    if not done:
        raise CannotApply(f"{remedy}: no layer keeps the width and is followed by its activation in one Sequential")
    return model


def thinned(model: nn.Module, seen: Anatomy, remedy: str, probability: float) -> nn.Module:
    """Dropout after each hidden activation that is a module."""
    named = dict(model.named_modules())
    chosen = [named[n] for n in seen.activations if n in named and not any(named[n].children())]
    if not chosen or chosen == [model]:
        raise CannotApply(f"{remedy}: no hidden activation is a module of its own")
    for module in chosen:
        model = put(model, module, nn.Sequential(module, nn.Dropout(probability)).train(module.training))
    return model


def ended(model: nn.Module, seen: Anatomy, remedy: str, name: str) -> nn.Module:
    """A model that ends in another activation, or in none ("linear")."""
    made = activation(remedy, name).train(model.training)
    if seen.ending == name:
        raise CannotApply(f"{remedy}: the model ends in {name} already")
    if seen.ending:
        named = dict(model.named_modules())
        last = named.get(seen.last or "")
        if last is None or any(last.children()) or not type(last).__module__.startswith("torch.nn.modules"):
            raise CannotApply(f"{remedy}: forward() ends in a call of {seen.ending}: it must be changed in the source")
        return put(model, last, made)
    if name == "linear":
        raise CannotApply(f"{remedy}: the model ends in no activation that could be dropped")
    return appended(model, seen, remedy, made)


def appended(model: nn.Module, seen: Anatomy, remedy: str, module: nn.Module) -> nn.Module:
    """The model with a module behind it. Raises CannotApply where it gives no single tensor."""
    if not isinstance(seen.output, torch.Tensor):
        raise CannotApply(f"{remedy}: the model gives no tensor but a {type(seen.output).__name__}")
    return nn.Sequential(model, module).train(model.training)


def prefixed(model: nn.Module, module: nn.Module) -> nn.Module:
    """The model with a module before it."""
    return nn.Sequential(module, model).train(model.training)


def connected(model: nn.Module) -> int:
    """Registers modules and parameters that stand in plain lists, tuples and dicts of a model; how many there were."""
    found = 0
    for module in list(model.modules()):
        for name, value in list(vars(module).items()):
            made = holder(value)
            if made is None or name.startswith("_"):
                continue
            delattr(module, name)
            setattr(module, name, made)
            found += 1 + connected(made) if isinstance(made, nn.Module) else 1
    return found


def holder(value: Any) -> Any:
    """The module or parameter that registers what a plain attribute holds; None where it holds nothing of the kind."""
    if isinstance(value, list | tuple) and value and all(isinstance(v, nn.Module) for v in value):
        return nn.ModuleList(value)
    if isinstance(value, list | tuple) and value and all(isinstance(v, nn.Parameter) for v in value):
        return nn.ParameterList(value)
    if isinstance(value, dict) and value and all(isinstance(v, nn.Module) for v in value.values()):
        return nn.ModuleDict(value) if all(isinstance(k, str) for k in value) else None
    if isinstance(value, torch.Tensor) and value.is_leaf and value.requires_grad:
        return nn.Parameter(value.detach())
    return None
