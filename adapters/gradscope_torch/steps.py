"""Steps: remedies that wrap the function which makes the optimizer of a workload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from gradscope.errors import CannotApply
from gradscope.regimen import Settings, setting, with_recipe
from gradscope.workload import Workload
from torch import nn
from torch.optim import Optimizer

from gradscope_torch.anatomy import builder


def maker(workload: Workload) -> Callable[[Any], Optimizer]:
    """What makes the optimizer."""
    return workload.optimizer or torch.optim.Adam


def remade(workload: Workload, change: Callable[[Optimizer, list[nn.Parameter]], Any]) -> Workload:
    """The workload whose optimizer is changed once it is made."""
    make = maker(workload)

    def changed(parameters: Any) -> Optimizer:
        given = list(parameters)
        optimizer = make(given)
        change(optimizer, given)
        return optimizer

    return replace(workload, optimizer=changed)


def sample(workload: Workload) -> Optimizer:
    """An optimizer as the workload makes it, of parameters of its own."""
    with torch.random.fork_rng(devices=[]):
        return maker(workload)([p for p in builder(workload)().parameters() if p.requires_grad])


def lacking(optimizer: Optimizer, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """The parameters that an optimizer does not hold."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [p for p in parameters if id(p) not in held]


def added(workload: Workload, remedy: str, model: nn.Module, *, required: bool) -> Workload:
    """The optimizer with the parameters that it lacks. Raises CannotApply where that is required and it lacks none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = maker(workload)(parameters)
    if not lacking(optimizer, parameters):
        if required:
            raise CannotApply(
                f"{remedy}: every parameter is registered and held by the optimizer; a cut inside forward() must be "
                "mended in the source"
            )
        return workload

    def add(optimizer: Optimizer, parameters: list[nn.Parameter]) -> None:
        missing = lacking(optimizer, parameters)
        if missing:
            optimizer.add_param_group({"params": missing})

    return remade(workload, add)


def with_eps(workload: Workload, eps: float) -> Workload:
    """A larger eps. Raises CannotApply for an optimizer without one."""
    if not any("eps" in group for group in sample(workload).param_groups):
        raise CannotApply("full-precision-weights: the optimizer has no eps")

    def widen(optimizer: Optimizer, _parameters: Any) -> None:
        for group in optimizer.param_groups:
            group["eps"] = eps

    return remade(workload, widen)


def decayed_less(workload: Workload, settings: Settings) -> Workload:
    """weaken-penalty: penalties and decay of recipe and optimizer times a factor. Settings: factor."""
    factor, recipe = setting("weaken-penalty", settings, "factor"), workload.recipe
    held = any(group.get("weight_decay") for group in sample(workload).param_groups)
    if not (held or recipe.l1 or recipe.l2 or recipe.decay):
        raise CannotApply("weaken-penalty: neither optimizer nor recipe has a penalty; one in the loss is in its code")

    def weaken(optimizer: Optimizer, _parameters: Any) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = factor * group.get("weight_decay", 0.0)

    less = with_recipe(workload, l1=factor * recipe.l1, l2=factor * recipe.l2, decay=factor * recipe.decay)
    return remade(less, weaken) if held else less


def skip(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
    """Before a step: drops all gradients when one is not finite, so that nothing moves."""
    held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if all(bool(torch.isfinite(p.grad).all()) for p in held):
        return
    for p in held:
        p.grad = None


def stopped_before_poison(workload: Workload, _settings: Settings) -> Workload:
    """stop-before-poison: no step along a gradient that is not finite."""
    return remade(workload, lambda optimizer, _parameters: optimizer.register_step_pre_hook(skip))
