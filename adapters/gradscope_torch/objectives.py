"""Objectives: remedies that change the loss of a workload, and what must change with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from gradscope.errors import CannotApply
from gradscope.regimen import Settings, first_pair, setting
from gradscope.workload import Workload
from torch import nn

from gradscope_torch.additions import Float32, Rescale, ScaledBackward, with_gradient_of
from gradscope_torch.anatomy import builder


def shapes(workload: Workload, remedy: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(output, target) of the first batch. Raises CannotApply where they are no tensors."""
    inputs, target = first_pair(workload, remedy)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        output = builder(workload)()(inputs)
    for what, value in (("output", output), ("target", target)):
        if not isinstance(value, torch.Tensor):
            raise CannotApply(f"{remedy}: the {what} is no tensor but a {type(value).__name__}")
    return output, target


def matched(workload: Workload, _settings: Settings) -> Workload:
    """match-shapes: the target in the shape of the output."""
    output, target = shapes(workload, "match-shapes")
    if output.shape == target.shape or output.numel() != target.numel():
        given = f"{tuple(output.shape)} and {tuple(target.shape)}"
        raise CannotApply(f"match-shapes: output and target of {given} are alike, or not to be matched by a reshape")
    loss = workload.loss
    return replace(workload, loss=lambda output, target: loss(output, target.reshape(output.shape)))


def binary(workload: Workload) -> Workload:
    """The binary cross-entropy of scores."""
    with_logits = nn.functional.binary_cross_entropy_with_logits
    return replace(
        workload, loss=lambda output, target: with_logits(output, target.reshape(output.shape).to(output.dtype))
    )


def standardized(workload: Workload, settings: Settings) -> Workload:
    """scale-target: the model learns standardized targets and turns its predictions back. The loss keeps its value, in
    the unit of the targets; its gradient is that of the standardized ones. Settings: mean, deviation."""
    deviation = setting("scale-target", settings, "deviation")
    mean = setting("scale-target", settings, "mean", least=-float("inf"))
    output, target = shapes(workload, "scale-target")
    if not (output.is_floating_point() and target.is_floating_point()):
        raise CannotApply(f"scale-target: targets of {target.dtype} are no measurements")
    loss, build = workload.loss, builder(workload)

    def standard(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raw, small = loss(output, target), loss((output - mean) / deviation, (target - mean) / deviation)
        return with_gradient_of(raw, small)

    def model() -> nn.Module:
        return nn.Sequential(build(), Rescale(mean, deviation))

    return replace(workload, loss=standard, model=model)


def scaled_backward(workload: Workload, settings: Settings) -> Workload:
    """loss-scaling: the gradient times a number from the loss on, and divided by it where it arrives at a parameter.
    Settings: scale."""
    scale, loss, build = setting("loss-scaling", settings, "scale"), workload.loss, builder(workload)

    def model() -> nn.Module:
        made = build()
        for p in made.parameters():
            if p.requires_grad:
                p.register_hook(lambda gradient: gradient / scale)
        return made

    with torch.random.fork_rng(devices=[]):
        if any(p.dtype in {torch.float16, torch.bfloat16} for p in build().parameters()):
            raise CannotApply(
                "loss-scaling: gradients of weights in half precision vanish again where they are divided"
            )
    return replace(workload, model=model, loss=lambda output, target: ScaledBackward.apply(loss(output, target), scale))


def full_precision(workload: Workload, build: Callable[[], nn.Module]) -> Workload:
    """Weights, inputs and targets in float32."""
    loss = workload.loss

    def widened(output: Any, target: Any) -> Any:
        half = isinstance(target, torch.Tensor) and target.is_floating_point()
        return loss(output, target.float() if half else target)

    return replace(workload, model=lambda: nn.Sequential(Float32(), build().float()), loss=widened)


def noted(workload: Workload, note: Callable[[Any], None]) -> Workload:
    """The workload whose losses are handed to a function, as arrays of the host."""
    loss = workload.loss

    def told(output: Any, target: Any) -> Any:
        value = loss(output, target)
        if torch.is_grad_enabled():
            note(value.detach().float().cpu().numpy())
        return value

    return replace(workload, loss=told)
