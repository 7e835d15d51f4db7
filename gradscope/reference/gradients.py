"""What a recipe makes of gradients before the step: averaged, penalized, clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradscope.recipe import SMALLEST_NORM, Recipe
from gradscope.reference.layers import Array
from gradscope.reference.optimizers import clip_norm

Named = Mapping[str, Array]


def average(several: Sequence[Named]) -> dict[str, Array]:
    """The mean of the gradients of several batches, each of which counts the same."""
    found = dict(several[0])
    for one in several[1:]:
        found = {k: g + one[k] for k, g in found.items()}
    return {k: g / g.dtype.type(len(several)) for k, g in found.items()} if len(several) > 1 else found


def prepared(recipe: Recipe, weights: Named, gradients: Named) -> tuple[dict[str, Array], dict[str, Array]]:
    """(gradients with their penalties, clipped by value and by unit; the same after the clipping by norm)."""
    found = {k: penalized(recipe, weights[k], g) for k, g in gradients.items()}
    if recipe.clip_value is not None:
        found = {k: np.clip(g, -recipe.clip_value, recipe.clip_value).astype(g.dtype) for k, g in found.items()}
    if recipe.clip_adaptive is not None:
        found = {k: clip_adaptive(weights[k], g, recipe.clip_adaptive) for k, g in found.items()}
    return found, found if recipe.clip_norm is None else clip_norm(found, recipe.clip_norm)


def penalized(recipe: Recipe, weight: Array, gradient: Array) -> Array:
    """The gradient of the loss and of the penalties on a weight."""
    kind = gradient.dtype.type
    if weight.ndim < 2:
        return gradient
    if recipe.l1:
        gradient = gradient + kind(recipe.l1) * np.sign(weight)
    if recipe.l2:
        gradient = gradient + kind(recipe.l2) * weight
    return gradient


def clip_adaptive(weight: Array, gradient: Array, limit: float) -> Array:
    """The gradient whose norm of each unit is at most limit x that of its weights: Brock et al. (2021)
    arXiv:2102.06171. A unit is an entry of the last dimension; an array of one dimension is one unit."""
    bound = limit * np.maximum(unit_norm(weight), SMALLEST_NORM)
    norm = unit_norm(gradient)
    scale = np.where(norm > bound, bound / np.maximum(norm, np.finfo("f8").tiny), 1.0)
    return np.asarray(gradient * scale.astype(gradient.dtype))


def unit_norm(array: Array) -> Array:
    """L2 norm of each unit, float64."""
    axes = tuple(range(array.ndim - 1)) if array.ndim > 1 else None
    return np.asarray(np.sqrt(np.square(array, dtype="f8").sum(axes)))


def decayed(recipe: Recipe, rate: float, weights: Named) -> dict[str, Array]:
    """Weights x (1 - rate x decay), those of more than one dimension."""
    if not recipe.decay:
        return dict(weights)
    return {k: w * w.dtype.type(1 - rate * recipe.decay) if w.ndim > 1 else w for k, w in weights.items()}
