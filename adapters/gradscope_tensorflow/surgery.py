"""Surgery: remedies applied to a workload. Nothing that was given changes: models are built or copied and treated then;
losses, batches and the makers of optimizers are wrapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from gradscope.errors import CannotApply
from gradscope.recipe import constant
from gradscope.regimen import STEPPING, Apply, Settings, briefly, calmed, first_pair, refused, scheduled, setting
from gradscope.workload import Workload
from keras import initializers, layers

from gradscope_tensorflow import initialization, rebuilding
from gradscope_tensorflow.additions import Crop
from gradscope_tensorflow.anatomy import (
    activation_of,
    builder,
    ending_layer,
    floating_input,
    functional,
    streams_kept,
)
from gradscope_tensorflow.materials import cleaned, moments, shuffled
from gradscope_tensorflow.objectives import binary, matched, noted, standardized
from gradscope_tensorflow.precision import full_precision
from gradscope_tensorflow.steps import decayed_less, optimized, stopped_before_poison, with_eps

HERE = {
    "connect-parameter": "a cut inside call() must be mended in the source",
    "loss-scaling": "the tape must scale the loss and the optimizer its gradients: keras.optimizers.LossScaleOptimizer",
    "register-parameter": "Keras registers layers itself, and the trainer hands every weight to the optimizer",
}
"""Remedies that no workload of Keras takes, and why."""


def treat(workload: Workload, remedy: str, settings: Settings) -> Workload:
    """The workload with a remedy of that name. Raises CannotApply for what is not known here, and what does not fit."""
    if remedy in HERE:
        raise CannotApply(f"{remedy}: {HERE[remedy]}")
    if remedy not in REMEDIES:
        raise refused(remedy, REMEDIES, "tensorflow")
    return REMEDIES[remedy](workload, settings)


def remodelled(workload: Workload, remedy: str, change: Callable[[Any], Any]) -> Workload:
    """The workload whose model is changed, each time that one is made. It is tried once, so that CannotApply comes now;
    a model that no longer runs afterwards is one that the remedy does not fit."""
    build, inputs = builder(workload), first_pair(workload, remedy)[0]

    def treated() -> Any:
        return change(ready(build(), inputs))

    with streams_kept():
        try:
            treated()(inputs)
        except CannotApply:
            raise
        except Exception as error:
            raise CannotApply(f"{remedy}: the model does not run with it: {briefly(error)}") from error
    return replace(workload, model=treated)


def ready(model: Any, inputs: Any) -> Any:
    """The model, built by a batch where it was not."""
    if not model.built:
        model(inputs)
    return model


def rebuilt(workload: Workload, remedy: str, change: Callable[[Any], Any]) -> Workload:
    """The workload whose model is changed as a graph of layers."""
    return remodelled(workload, remedy, lambda model: change(functional(model, remedy)))


def normalize(workload: Workload, _settings: Settings, *, remedy: str, make: rebuilding.Make) -> Workload:
    """Normalization before the activations."""
    if make is rebuilding.batch_normalization and len(first_pair(workload, remedy)[0]) == 1:
        raise CannotApply(f"{remedy}: the batches hold one sample each, which has no variance")
    return rebuilt(workload, remedy, partial(rebuilding.normalized, remedy=remedy, make=make))


def initialize(workload: Workload, _settings: Settings, *, remedy: str, make: Any) -> Workload:
    """Weights drawn anew, in each model that is made."""
    return remodelled(workload, remedy, partial(initialization.drawn, make=make, remedy=remedy))


def orthogonalize(workload: Workload, settings: Settings) -> Workload:
    """Orthogonal matrices. Settings: gain, 1 by default."""
    name, gain = "orthogonal-initialization", float(settings.get("gain", 1.0))
    return remodelled(workload, name, partial(initialization.orthogonal, gain=gain, remedy=name))


def level(workload: Workload, _settings: Settings) -> Workload:
    """Layer by layer to variance one, on the first batch."""
    name = "lsuv-initialization"
    inputs = first_pair(workload, name)[0]
    return rebuilt(workload, name, partial(initialization.unit_variance, inputs=inputs, remedy=name))


def reactivate(workload: Workload, settings: Settings) -> Workload:
    """Another hidden activation. Settings: activation."""
    name, wanted = "replace-activation", str(settings.get("activation", "relu"))
    return rebuilt(workload, name, partial(rebuilding.reactivated, remedy=name, name=wanted))


def shorten(workload: Workload, _settings: Settings) -> Workload:
    """Paths around layers."""
    return rebuilt(workload, "residual-connection", partial(rebuilding.shortened, remedy="residual-connection"))


def thin(workload: Workload, settings: Settings) -> Workload:
    """Dropout. Settings: probability."""
    probability = setting("dropout", settings, "probability")
    return rebuilt(workload, "dropout", partial(rebuilding.thinned, remedy="dropout", probability=probability))


def end(workload: Workload, settings: Settings, *, remedy: str) -> Workload:
    """Another last activation, and another loss where the settings name one. Settings: output, loss."""
    name, loss = str(settings.get("output", "linear")), settings.get("loss")
    if loss not in {None, "binary_cross_entropy_with_logits"}:
        raise CannotApply(f"{remedy}: the loss {loss!r} is not known")
    if loss is None:
        return rebuilt(workload, remedy, partial(rebuilding.ended, remedy=remedy, name=name))
    with streams_kept():
        graph = functional(ready(builder(workload)(), first_pair(workload, remedy)[0]), remedy)
    ends = activation_of(ending_layer(graph)) or "linear"
    return binary(workload if ends == name else end(workload, {"output": name}, remedy=remedy))


def prefix(workload: Workload, remedy: str, make: Callable[[], Any]) -> Workload:
    """A layer before the model."""
    return remodelled(workload, remedy, lambda model: rebuilding.prefixed(model, make()))


def standardize(workload: Workload, _settings: Settings) -> Workload:
    """Inputs of mean 0 and deviation 1, from the batches."""
    floating_input(workload, "standardize-input")
    mean, variance = moments(workload, "standardize-input")
    return prefix(workload, "standardize-input", lambda: layers.Normalization(mean=mean, variance=variance))


def perturb(workload: Workload, settings: Settings) -> Workload:
    """Noise on the inputs. Settings: deviation, as a multiple of that of the first batch."""
    deviation = setting("input-noise", settings, "deviation")
    size = deviation * float(np.std(floating_input(workload, "input-noise")))
    return prefix(workload, "input-noise", lambda: layers.GaussianNoise(size))


def crop(workload: Workload, settings: Settings) -> Workload:
    """Images moved at random. Settings: padding, in pixels."""
    padding = int(setting("random-crops", settings, "padding"))
    shape = floating_input(workload, "random-crops").shape
    if len(shape) != 4:
        raise CannotApply(f"random-crops: inputs of shape {shape} are no images [N, H, W, C]")
    return prefix(workload, "random-crops", lambda: Crop(padding))


def widen(workload: Workload, settings: Settings, *, remedy: str) -> Workload:
    """Everything in float32; a larger eps; a smaller rate: as the settings say. Settings: precision, eps, factor."""
    treated = workload
    if settings.get("precision") == "float32":
        treated = remodelled(workload, remedy, partial(full_precision, remedy=remedy))
    elif "eps" in settings:
        treated = with_eps(treated, setting(remedy, settings, "eps"))
    if "factor" in settings:
        treated = scheduled(treated, constant(setting(remedy, settings, "factor")))
    return treated


REMEDIES: dict[str, Apply] = STEPPING | {
    "batch-normalization": partial(normalize, remedy="batch-normalization", make=rebuilding.batch_normalization),
    "layer-normalization": partial(normalize, remedy="layer-normalization", make=rebuilding.layer_normalization),
    "rms-normalization": partial(normalize, remedy="rms-normalization", make=rebuilding.rms_normalization),
    "he-initialization": partial(initialize, remedy="he-initialization", make=initializers.HeNormal),
    "glorot-initialization": partial(initialize, remedy="glorot-initialization", make=initializers.GlorotNormal),
    "orthogonal-initialization": orthogonalize,
    "lsuv-initialization": level,
    "replace-activation": reactivate,
    "residual-connection": shorten,
    "dropout": thin,
    "correct-output": partial(end, remedy="correct-output"),
    "open-output": partial(end, remedy="open-output"),
    "standardize-input": standardize,
    "input-noise": perturb,
    "random-crops": crop,
    "full-precision-weights": partial(widen, remedy="full-precision-weights"),
    "full-precision-loss": partial(widen, remedy="full-precision-loss"),
    "replace-optimizer": optimized,
    "scale-target": standardized,
    "match-shapes": matched,
    "reduce-on-plateau": partial(calmed, watched=noted),
    "weaken-penalty": decayed_less,
    "stop-before-poison": stopped_before_poison,
    "shuffle-data": shuffled,
    "check-data": cleaned,
}
"""Remedy, by the name of its file in gradscope/remedies -> how it is applied here."""
