"""A plain training loop over a Workload, as its recipe says. It observes nothing itself: a session around it does."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gradscope.errors import CannotJudge, UsageError
from gradscope.recipe import SMALLEST_NORM, Recipe
from gradscope.scope import Scope
from gradscope.workload import Score, Workload, groups, held_out, score
from torch import Tensor


def train(scope: Scope, workload: Workload) -> None:
    """Trains until the scope has seen enough steps. Raises CannotJudge without batches or parameters."""
    model, recipe = workload.model, workload.recipe
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise CannotJudge(f"workload(): {type(model).__name__} has no parameter that requires a gradient")
    optimizer = (workload.optimizer or torch.optim.Adam)(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(f"workload(): optimizer must build a torch.optim.Optimizer, got {type(optimizer).__name__}")
    usual = [g.get("lr") for g in optimizer.param_groups]
    if recipe.schedule is not None and None in usual:
        raise UsageError(f"workload(): {type(optimizer).__name__} has no learning rate to be scheduled")
    model.train()
    for step, group in enumerate(groups(workload, scope.settings.steps)):
        if recipe.schedule is not None:
            for held, rate in zip(optimizer.param_groups, usual, strict=True):
                held["lr"] = rate * recipe.factor(step)
        optimizer.zero_grad()
        for inputs, target in group:
            loss = workload.loss(model(inputs), target)
            loss.backward()
        prepare(recipe, parameters, len(group))
        decay(recipe, optimizer)
        optimizer.step()


@torch.no_grad()
def prepare(recipe: Recipe, parameters: Sequence[Tensor], batches: int) -> None:
    """Averages the gradients, adds the penalties, clips: what a step will use."""
    trained = [p for p in parameters if p.grad is not None]
    if batches > 1:
        for p in trained:
            p.grad.div_(batches)
    if not recipe.changes_gradients:
        return
    for p in trained:
        if p.grad.layout != torch.strided:
            p.grad = p.grad.to_dense()
        if p.dim() > 1:
            penalize(recipe, p)
    if recipe.clip_value is not None:
        torch.nn.utils.clip_grad_value_(trained, recipe.clip_value)
    if recipe.clip_adaptive is not None:
        for p in trained:
            clip_adaptive(p, p.grad, recipe.clip_adaptive)
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)


def penalize(recipe: Recipe, p: Any) -> None:
    """Adds the gradients of the penalties on a weight to its own."""
    if recipe.l1:
        p.grad.add_(p.detach().sign(), alpha=recipe.l1)
    if recipe.l2:
        p.grad.add_(p.detach(), alpha=recipe.l2)


def clip_adaptive(weight: Tensor, gradient: Tensor, limit: float) -> None:
    """Clips the norm of each unit, an entry of the first dimension, to limit x that of its weights; an array of one
    dimension is one unit."""
    bound = limit * unit_norm(weight.detach()).clamp_min(SMALLEST_NORM)
    norm = unit_norm(gradient)
    gradient.mul_(torch.where(norm > bound, bound / norm, torch.ones_like(norm)).to(gradient.dtype))


def unit_norm(array: Tensor) -> Tensor:
    """L2 norm of each unit, in a shape that broadcasts; float32 at least."""
    kind = torch.promote_types(array.dtype, torch.float32)
    if array.dim() < 2:
        return torch.linalg.vector_norm(array, dtype=kind)
    return torch.linalg.vector_norm(array, dim=tuple(range(1, array.dim())), keepdim=True, dtype=kind)


@torch.no_grad()
def decay(recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
    """Multiplies weights by 1 - rate x decay."""
    if not recipe.decay:
        return
    for held in optimizer.param_groups:
        for p in held["params"]:
            if p.dim() > 1 and p.grad is not None:
                p.mul_(1 - float(held["lr"]) * recipe.decay)


def fresh(workload: Workload, seed: int) -> Workload:
    """Seeds Python, numpy and torch, and gives the workload a model of its own: built anew, or copied.

    Raises UsageError for a model that cannot be copied.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    given = workload.model
    if not isinstance(given, torch.nn.Module):
        return replace(workload, model=given())
    try:
        return replace(workload, model=copy.deepcopy(given))
    except Exception as error:
        raise UsageError(
            f"workload(): a {type(given).__name__} cannot be copied ({type(error).__name__}: {error}); "
            "give a function that builds it"
        ) from error


def evaluate(workload: Workload) -> Score:
    """The loss, and the metric, of what was held out, in evaluation mode; of the batches where nothing was."""
    model = workload.model
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return score(parts(model, workload))
    finally:
        for module, mode in modes.items():
            module.training = mode


def parts(model: Callable[..., Any], workload: Workload) -> Iterator[tuple[int, float, float | None]]:
    """(samples, mean loss, mean of the metric or None) of each batch."""
    for inputs, target in held_out(workload):
        output = model(inputs)
        metric = None if workload.metric is None else mean(workload.metric(output, target))
        yield samples(output, target), mean(workload.loss(output, target)), metric


def mean(value: Any) -> float:
    """The mean of an array or number, float64."""
    return float(torch.as_tensor(value).double().mean())


def samples(output: Any, target: Any) -> int:
    """How many samples a batch holds: the first dimension of what the model gave, or of its target."""
    for array in (output, target):
        shape: Any = getattr(array, "shape", ())
        if len(shape):
            return int(shape[0])
    return 1
