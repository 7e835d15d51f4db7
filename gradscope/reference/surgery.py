"""Surgery: remedies applied to a workload of the reference. What is given stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from gradscope.errors import CannotApply
from gradscope.reference.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from gradscope.reference.dropout import Dropout
from gradscope.reference.initial import Scheme, glorot, he, orthogonal
from gradscope.reference.layers import Conv, Dense, Layer
from gradscope.reference.model import Model
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm, LayerNorm
from gradscope.reference.optimizers import SGD, Adam
from gradscope.regimen import STEPPING, Apply, Settings, first_pair, refused, setting
from gradscope.statistics import deviation
from gradscope.workload import Workload

ACTIVATIONS: dict[str, Callable[[str], Layer]] = {
    "relu": ReLU,
    "leaky-relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}
OPTIMIZERS: dict[str, Callable[[float], SGD | Adam]] = {"SGD": SGD, "Adam": Adam}
KINDS = (ReLU, LeakyReLU, ELU, GELU, Tanh, Sigmoid)


def treat(workload: Workload, remedy: str, settings: Settings) -> Workload:
    """The workload with a remedy of that name. Raises CannotApply for what is not known here, and does not fit."""
    if remedy not in REMEDIES:
        raise refused(remedy, REMEDIES, "the reference")
    return REMEDIES[remedy](workload, settings)


def remodelled(workload: Workload, change: Callable[[Model], Model]) -> Workload:
    """The workload whose model is changed: a copy of it, or what its function builds, each time anew. The change is
    tried once at least, so that CannotApply comes now."""
    given = workload.model
    if isinstance(given, Model):
        return replace(workload, model=change(given.copy()))
    change(given())
    return replace(workload, model=lambda: change(given()))


def normalized(workload: Workload, _settings: Settings, *, remedy: str, kind: type[BatchNorm | LayerNorm]) -> Workload:
    """Normalization between each hidden layer and its activation; the bias before it goes, which it would take away."""
    if kind is BatchNorm and len(first_pair(workload, remedy)[0]) == 1:
        raise CannotApply(f"{remedy}: the batches hold one sample each, which has no variance")

    def change(model: Model) -> Model:
        if any(isinstance(at, BatchNorm | LayerNorm) for at in model.network.layers):
            raise CannotApply(f"{remedy}: the network is normalized already")
        layers: list[Layer] = []
        added: list[str] = []
        weighty = [i for i, at in enumerate(model.network.layers) if isinstance(at, Dense | Conv)]
        for i, layer in enumerate(model.network.layers):
            if i not in weighty[:-1] or not isinstance(layer, Dense | Conv):
                layers.append(layer)
                continue
            added.append(f"norm_{layer.name}")
            layers += [replace(layer, bias=False), kind(added[-1], layer.outputs)]
        if not added:
            raise CannotApply(f"{remedy}: there is no hidden layer")
        network = Network(tuple(layers))
        dtype = next(iter(model.weights.values())).dtype
        fresh = {k: np.full(s, float(k.endswith(".gamma")), dtype) for k, s in network.shapes().items()}
        return model.with_network(network, {k: model.weights.get(k, w) for k, w in fresh.items()})

    return remodelled(workload, change)


def initialized(workload: Workload, settings: Settings, *, scheme: Scheme) -> Workload:
    """Kernels drawn anew, gammas one, biases zero. Settings: seed, from the chance of the model by default."""

    def change(model: Model) -> Model:
        seed = settings.get("seed")
        drawn = model.network.drawn(int(model.random.integers(2**31) if seed is None else seed), scheme)
        model.weights = {k: drawn[k].astype(w.dtype) for k, w in model.weights.items()}
        return model

    return remodelled(workload, change)


def orthogonalized(workload: Workload, settings: Settings) -> Workload:
    """Orthogonal kernels. Settings: gain, 1 by default; seed."""
    gain = float(settings.get("gain", 1.0))
    return initialized(workload, settings, scheme=lambda random, shape: gain * orthogonal(random, shape))


def levelled(workload: Workload, settings: Settings) -> Workload:
    """Orthogonal kernels, scaled layer by layer until the first batch leaves each with deviation one: Mishkin & Matas
    (2016) arXiv:1511.06422."""
    first = first_pair(workload, "lsuv-initialization")[0]

    def change(model: Model) -> Model:
        given = model.cast(first)
        for layer in model.network.layers:
            own = model.network.weights_of(layer, model.weights)
            if "kernel" in own:
                spread = deviation(layer.forward(own, given)[0])
                if spread > 0 and np.isfinite(spread):
                    own["kernel"] = own["kernel"] / own["kernel"].dtype.type(spread)
                    model.weights[f"{layer.name}.kernel"] = own["kernel"]
            given, _ = layer.forward(own, given)
        return model

    return remodelled(orthogonalized(workload, settings), change)


def thinned(workload: Workload, settings: Settings) -> Workload:
    """Dropout behind each hidden activation. Settings: probability."""
    rate = setting("dropout", settings, "probability")

    def change(model: Model) -> Model:
        layers: list[Layer] = []
        last = max((i for i, at in enumerate(model.network.layers) if at.shapes()), default=0)
        for i, layer in enumerate(model.network.layers):
            layers.append(layer)
            if i < last and isinstance(layer, KINDS):
                layers.append(Dropout(f"drop_{layer.name}", rate))
        if len(layers) == len(model.network.layers):
            raise CannotApply("dropout: there is no hidden activation")
        return model.with_network(Network(tuple(layers)), model.weights)

    return remodelled(workload, change)


def reoptimized(workload: Workload, settings: Settings) -> Workload:
    """Another optimizer. Settings: optimizer, SGD or Adam; rate."""
    name, rate = str(settings.get("optimizer", "Adam")), setting("replace-optimizer", settings, "rate")
    if name not in OPTIMIZERS:
        raise CannotApply(f"replace-optimizer: there is no {name!r} here; there are {', '.join(OPTIMIZERS)}")
    return replace(workload, optimizer=lambda _weights: OPTIMIZERS[name](rate))


def reactivated(workload: Workload, settings: Settings) -> Workload:
    """Another activation behind every hidden layer; that of the output stays. Settings: activation."""
    remedy = "replace-activation"
    wanted = str(settings.get("activation"))
    name = {"leakyrelu": "leaky-relu", "leaky_relu": "leaky-relu"}.get(wanted.lower(), wanted.lower())
    if name not in ACTIVATIONS:
        raise CannotApply(f"{remedy}: no activation is called {wanted!r}; there are {', '.join(ACTIVATIONS)}")

    def change(model: Model) -> Model:
        layers = model.network.layers
        last = max((i for i, at in enumerate(layers) if at.shapes()), default=0)
        other = [i for i, at in enumerate(layers[:last]) if isinstance(at, KINDS)]
        made = {i: ACTIVATIONS[name](layers[i].name) for i in other}
        if all(made[i] == layers[i] for i in other):
            raise CannotApply(f"{remedy}: no hidden activation is other than {name}")
        network = Network(tuple(made.get(i, at) for i, at in enumerate(layers)))
        return model.with_network(network, model.weights)

    return remodelled(workload, change)


REMEDIES: dict[str, Apply] = STEPPING | {
    "batch-normalization": partial(normalized, remedy="batch-normalization", kind=BatchNorm),
    "layer-normalization": partial(normalized, remedy="layer-normalization", kind=LayerNorm),
    "he-initialization": partial(initialized, scheme=he),
    "glorot-initialization": partial(initialized, scheme=glorot),
    "orthogonal-initialization": orthogonalized,
    "lsuv-initialization": levelled,
    "replace-activation": reactivated,
    "dropout": thinned,
    "replace-optimizer": reoptimized,
}
"""Remedy, by the name of its file in gradscope/remedies -> how it is applied here."""
