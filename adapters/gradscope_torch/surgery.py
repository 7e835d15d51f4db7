"""Surgery: remedies applied to a workload. Nothing that was given changes: models are built or copied and treated then;
losses, batches and the makers of optimizers are wrapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from gradscope.errors import CannotApply
from gradscope.recipe import constant
from gradscope.regimen import STEPPING, Apply, Settings, briefly, calmed, first_pair, refused, scheduled, setting
from gradscope.workload import Workload
from torch import nn

from gradscope_torch import initialization, rebuilding
from gradscope_torch.additions import Crop, Noise, Standardize
from gradscope_torch.anatomy import Anatomy, anatomy, builder, floating_input, tensor_input
from gradscope_torch.materials import cleaned, moments, shuffled
from gradscope_torch.objectives import binary, full_precision, matched, noted, scaled_backward, standardized
from gradscope_torch.steps import added, decayed_less, stopped_before_poison, with_eps


def treat(workload: Workload, remedy: str, settings: Settings) -> Workload:
    """The workload with a remedy of that name. Raises CannotApply for what is not known here, and what does not fit."""
    if remedy not in REMEDIES:
        raise refused(remedy, REMEDIES, "torch")
    return REMEDIES[remedy](workload, settings)


Change = Callable[[nn.Module, Anatomy], nn.Module]


def remodelled(workload: Workload, remedy: str, change: Callable[[nn.Module], nn.Module]) -> Workload:
    """The workload whose model is changed, each time that one is made. It is tried once, so that CannotApply comes now;
    a model that no longer runs afterwards is one that the remedy does not fit."""
    build, inputs = builder(workload), first_pair(workload, remedy)[0]
    with torch.random.fork_rng(devices=[]):
        try:
            made = change(build())
            with torch.no_grad():
                made(inputs)
        except CannotApply:
            raise
        except Exception as error:
            raise CannotApply(f"{remedy}: the model does not run with it: {briefly(error)}") from error
    return replace(workload, model=lambda: change(build()))


def rebuilt(workload: Workload, remedy: str, change: Change) -> Workload:
    """The workload whose model is changed according to what a pass over its first batch shows."""
    inputs = first_pair(workload, remedy)[0]
    return remodelled(workload, remedy, lambda model: change(model, anatomy(model, inputs)))


def normalize(workload: Workload, _settings: Settings, *, remedy: str, make: Any) -> Workload:
    """Normalization before the activations."""
    if make is rebuilding.batch_normalization and len(tensor_input(workload, remedy)) == 1:
        raise CannotApply(f"{remedy}: the batches hold one sample each, which has no variance")
    return rebuilt(workload, remedy, partial(rebuilding.normalized, remedy=remedy, make=make))


def initialize(workload: Workload, _settings: Settings, *, remedy: str, draw: initialization.Draw) -> Workload:
    """Weights drawn anew, in each model that is made."""
    return remodelled(workload, remedy, partial(initialization.drawn, draw=draw, remedy=remedy))


def orthogonalize(workload: Workload, settings: Settings) -> Workload:
    """Orthogonal matrices. Settings: gain, 1 by default."""
    name, gain = "orthogonal-initialization", float(settings.get("gain", 1.0))
    return remodelled(workload, name, partial(initialization.orthogonal, gain=gain, remedy=name))


def level(workload: Workload, _settings: Settings) -> Workload:
    """Layer by layer to variance one, on the first batch."""
    name = "lsuv-initialization"
    inputs = first_pair(workload, name)[0]
    return remodelled(workload, name, partial(initialization.unit_variance, inputs=inputs, remedy=name))


def reactivate(workload: Workload, settings: Settings) -> Workload:
    """Another hidden activation. Settings: activation."""
    name = "replace-activation"
    wanted = str(settings.get("activation", "relu"))
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
    inputs = first_pair(workload, remedy)[0]
    seen = anatomy(builder(workload)(), inputs)
    treated = workload if not seen.ending and name == "linear" else end(workload, {"output": name}, remedy=remedy)
    return binary(treated)


def prefix(workload: Workload, remedy: str, make: Callable[[], nn.Module]) -> Workload:
    """A module before the model."""
    return remodelled(workload, remedy, lambda model: rebuilding.prefixed(model, make()))


def standardize(workload: Workload, _settings: Settings) -> Workload:
    """Inputs of mean 0 and deviation 1, from the batches."""
    floating_input(workload, "standardize-input")
    mean, deviation = moments(workload, "standardize-input")
    return prefix(workload, "standardize-input", lambda: Standardize(mean.clone(), deviation.clone()))


def perturb(workload: Workload, settings: Settings) -> Workload:
    """Noise on the inputs. Settings: deviation, as a multiple of that of the first batch."""
    deviation = setting("input-noise", settings, "deviation")
    size = deviation * float(floating_input(workload, "input-noise").float().std())
    return prefix(workload, "input-noise", lambda: Noise(size))


def crop(workload: Workload, settings: Settings) -> Workload:
    """Images moved at random. Settings: padding, in pixels."""
    padding = int(setting("random-crops", settings, "padding"))
    inputs = floating_input(workload, "random-crops")
    if inputs.ndim != 4:
        raise CannotApply(f"random-crops: inputs of shape {tuple(inputs.shape)} are no images [N, C, H, W]")
    return prefix(workload, "random-crops", lambda: Crop(padding))


def register(workload: Workload, _settings: Settings, *, remedy: str) -> Workload:
    """Layers in plain lists registered, and an optimizer for every parameter."""
    build = builder(workload)

    def connected(model: nn.Module) -> nn.Module:
        rebuilding.connected(model)
        return model

    hidden = rebuilding.connected(build())
    treated = remodelled(workload, remedy, connected) if hidden else workload
    return added(treated, remedy, builder(treated)(), required=not hidden)


def widen(workload: Workload, settings: Settings, *, remedy: str) -> Workload:
    """Weights in float32; a larger eps; a smaller rate: as the settings say. Settings: precision, eps, factor."""
    treated = workload
    half = any(p.dtype in {torch.float16, torch.bfloat16} for p in builder(workload)().parameters())
    if settings.get("precision") == "float32":
        if not half:
            raise CannotApply(f"{remedy}: the weights are in float32 already")
        treated = full_precision(treated, builder(workload))
    elif "eps" in settings:
        treated = with_eps(treated, setting(remedy, settings, "eps"))
    if "factor" in settings:
        treated = scheduled(treated, constant(setting(remedy, settings, "factor")))
    return treated


def optimize(workload: Workload, settings: Settings) -> Workload:
    """Another optimizer. Settings: optimizer, a class of torch.optim; rate."""
    name, rate = str(settings.get("optimizer", "Adam")), setting("replace-optimizer", settings, "rate")
    kind = getattr(torch.optim, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise CannotApply(f"replace-optimizer: there is no torch.optim.{name}")
    with torch.random.fork_rng(devices=[]):
        parameters = list(builder(workload)().parameters())
    if type((workload.optimizer or torch.optim.Adam)(parameters)) is kind:
        raise CannotApply(f"replace-optimizer: the optimizer is {name} already")
    return replace(workload, optimizer=lambda parameters: kind(parameters, lr=rate))


REMEDIES: dict[str, Apply] = STEPPING | {
    "batch-normalization": partial(normalize, remedy="batch-normalization", make=rebuilding.batch_normalization),
    "layer-normalization": partial(normalize, remedy="layer-normalization", make=rebuilding.layer_normalization),
    "rms-normalization": partial(normalize, remedy="rms-normalization", make=rebuilding.rms_normalization),
    "he-initialization": partial(initialize, remedy="he-initialization", draw=initialization.he),
    "glorot-initialization": partial(initialize, remedy="glorot-initialization", draw=initialization.glorot),
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
    "register-parameter": partial(register, remedy="register-parameter"),
    "connect-parameter": partial(register, remedy="connect-parameter"),
    "full-precision-weights": partial(widen, remedy="full-precision-weights"),
    "full-precision-loss": partial(widen, remedy="full-precision-loss"),
    "replace-optimizer": optimize,
    "scale-target": standardized,
    "match-shapes": matched,
    "loss-scaling": scaled_backward,
    "reduce-on-plateau": partial(calmed, watched=noted),
    "weaken-penalty": decayed_less,
    "stop-before-poison": stopped_before_poison,
    "shuffle-data": shuffled,
    "check-data": cleaned,
}
"""Remedy, by the name of its file in gradscope/remedies -> how it is applied here."""
