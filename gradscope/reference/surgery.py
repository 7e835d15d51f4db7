"""Surgery: remedies applied to a workload of the reference. What is given stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gradscope.errors import CannotApply
from gradscope.recipe import Recipe, constant, cosine, product, warm_up
from gradscope.reference.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from gradscope.reference.initial import Scheme, glorot, he, orthogonal
from gradscope.reference.layers import Array, Conv, Dense, Layer
from gradscope.reference.model import Model
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm, LayerNorm
from gradscope.workload import Workload, pairs

Settings = Mapping[str, Any]
ACTIVATIONS: dict[str, Callable[[str], Layer]] = {
    "relu": ReLU,
    "leaky-relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}
KINDS = (ReLU, LeakyReLU, ELU, GELU, Tanh, Sigmoid)


def treat(workload: Workload, remedy: str, settings: Settings) -> Workload:
    """The workload with a remedy of that name. Raises CannotApply for what is not known here, and does not fit."""
    if remedy not in REMEDIES:
        raise CannotApply(f"{remedy}: not known to the numpy trainer; it knows {', '.join(sorted(REMEDIES))}")
    return REMEDIES[remedy](workload, settings)


def setting(remedy: str, settings: Settings, name: str, *, least: float = 0.0) -> float:
    """A number among the settings, above `least`. Raises CannotApply."""
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > least:
        raise CannotApply(f"{remedy}: needs {name} as a number above {least:g}, got {value!r}")
    return float(value)


# -- the network -------------------------------------------------------------------------------------------------------


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
    if kind is BatchNorm and samples(workload) == 1:
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
    """Kernels drawn anew, gammas one, biases zero. Settings: seed, 0 by default."""

    def change(model: Model) -> Model:
        drawn = model.network.drawn(int(settings.get("seed", 0)), scheme)
        model.weights = {k: drawn[k].astype(w.dtype) for k, w in model.weights.items()}
        return model

    return remodelled(workload, change)


def reactivated(workload: Workload, settings: Settings, *, remedy: str) -> Workload:
    """Another activation behind every hidden layer; that of the output stays."""
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


def samples(workload: Workload) -> int | None:
    """How many samples the first batch holds; None where looking would use it up."""
    source = workload.batches() if callable(workload.batches) else workload.batches
    if iter(source) is source and not callable(workload.batches):
        return None
    first: tuple[Array, Any] | None = next(pairs(source), None)
    return None if first is None else len(first[0])


# -- the recipe --------------------------------------------------------------------------------------------------------


def with_recipe(workload: Workload, **changes: Any) -> Workload:
    """The workload stepped in another way."""
    return replace(workload, recipe=replace(workload.recipe, **changes))


def limited(workload: Workload, settings: Settings, *, remedy: str, switch: str, name: str) -> Workload:
    """A switch of the recipe set to a number above zero."""
    return with_recipe(workload, **{switch: setting(remedy, settings, name)})


def rated(workload: Workload, settings: Settings, *, remedy: str, lower: bool) -> Workload:
    """The learning rate times a factor: below one where it is lowered, above one where it is raised."""
    factor = setting(remedy, settings, "factor")
    if (factor < 1) is not lower or factor == 1:
        raise CannotApply(f"{remedy}: factor must be {'below' if lower else 'above'} 1, got {factor:g}")
    return scheduled(workload, constant(factor))


def scheduled(workload: Workload, schedule: Callable[[int], float]) -> Workload:
    """One more factor of the learning rate."""
    return with_recipe(workload, schedule=product(workload.recipe.schedule, schedule))


def timed(workload: Workload, settings: Settings, *, remedy: str, schedule: Any) -> Workload:
    """A schedule that takes a number of steps."""
    return scheduled(workload, schedule(int(setting(remedy, settings, "steps"))))


def accumulated(workload: Workload, settings: Settings, *, remedy: str) -> Workload:
    """So many times as many batches for one step."""
    times, recipe = int(setting(remedy, settings, "accumulate", least=1)), workload.recipe
    if recipe.full_batch:
        raise CannotApply(f"{remedy}: a step takes all batches already")
    if callable(recipe.accumulate):
        return with_recipe(workload, accumulate=lambda step: times * recipe.count(step))
    return with_recipe(workload, accumulate=times * recipe.count(0))


def whole(workload: Workload, _settings: Settings) -> Workload:
    """All batches of one pass for one step."""
    if workload.recipe.full_batch:
        raise CannotApply("full-batch: a step takes all batches already")
    return with_recipe(workload, full_batch=True, accumulate=Recipe().accumulate)


Apply = Callable[[Workload, Settings], Workload]
REMEDIES: dict[str, Apply] = {
    "batch-normalization": partial(normalized, remedy="batch-normalization", kind=BatchNorm),
    "layer-normalization": partial(normalized, remedy="layer-normalization", kind=LayerNorm),
    "he-initialization": partial(initialized, scheme=he),
    "glorot-initialization": partial(initialized, scheme=glorot),
    "orthogonal-initialization": partial(initialized, scheme=orthogonal),
    "replace-activation": partial(reactivated, remedy="replace-activation"),
    "clip-gradient-norm": partial(limited, remedy="clip-gradient-norm", switch="clip_norm", name="max_norm"),
    "clip-gradient-value": partial(limited, remedy="clip-gradient-value", switch="clip_value", name="max_value"),
    "adaptive-clipping": partial(limited, remedy="adaptive-clipping", switch="clip_adaptive", name="limit"),
    "weight-decay": partial(limited, remedy="weight-decay", switch="decay", name="decay"),
    "l1-penalty": partial(limited, remedy="l1-penalty", switch="l1", name="l1"),
    "lower-learning-rate": partial(rated, remedy="lower-learning-rate", lower=True),
    "raise-learning-rate": partial(rated, remedy="raise-learning-rate", lower=False),
    "warm-up": partial(timed, remedy="warm-up", schedule=warm_up),
    "cosine-schedule": partial(timed, remedy="cosine-schedule", schedule=cosine),
    "larger-batch": partial(accumulated, remedy="larger-batch"),
    "accumulate-gradients": partial(accumulated, remedy="accumulate-gradients"),
    "full-batch": whole,
}
"""Remedy, by the name of its file in gradscope/remedies -> how it is applied here."""
