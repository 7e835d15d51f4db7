"""Reductions of JAX arrays inside a traced step: the formulas of gradscope.statistics."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

ABSENT = -1.0
"""Stands for the norm of a gradient that is None."""
TINY = 1e-18
"""A norm below it may have lost entries whose squares are no float32."""


def norms_of(gradients: list[Any]) -> Any:
    """The L2 norms, float32, ABSENT for None, shape (len(gradients),); none overflows unless the array holds Inf."""
    present = [at for at, g in enumerate(gradients) if g is not None]
    norms = jnp.full(len(gradients), ABSENT, jnp.float32)
    if not present:
        return norms
    arrays = [wide(gradients[at]) for at in present]
    plain = jnp.stack([jnp.sqrt(jnp.sum(jnp.square(a))) for a in arrays])
    sound = jnp.all(jnp.isfinite(plain) & (plain > TINY))
    found = jax.lax.cond(sound, lambda: plain, lambda: jnp.stack([scaled_norm(a) for a in arrays]))
    return norms.at[jnp.array(present)].set(found)


def wide(values: Any) -> Any:
    """Magnitudes or values in float32, flat."""
    values = jnp.abs(values) if jnp.iscomplexobj(values) else values
    return jnp.ravel(values).astype(jnp.float32)


def scaled_norm(values: Any) -> Any:
    """The L2 norm by way of the largest magnitude; Inf for Inf, NaN for NaN, 0 for an empty array."""
    sizes = jnp.abs(values)
    top = jnp.max(sizes, initial=0.0)
    usable = jnp.isfinite(top) & (top > 0)
    return jnp.where(usable, top * jnp.sqrt(jnp.sum(jnp.square(sizes / jnp.where(usable, top, 1.0)))), top)


def parameter_statistics(gradient: Any, before: Any, after: Any) -> Any:
    """PARAMETER_QUANTITIES of one parameter, float32, shape (8,)."""
    details = [math.nan] * 3
    if gradient is not None:
        smallest, sizes = jnp.finfo(gradient.dtype).tiny, jnp.abs(wide(gradient))
        finite = jnp.where(jnp.isfinite(sizes), sizes, 0.0)
        details = [jnp.mean(sizes == 0), jnp.max(finite, initial=0.0), jnp.mean((sizes > 0) & (sizes < smallest))]
    old, new = wide(before), wide(after)
    moved = [scaled_norm(new - old), jnp.mean(jnp.ravel(after != before))]
    found = [*details, scaled_norm(old), jnp.std(old), *moved, jnp.sum(~jnp.isfinite(new))]
    return jnp.stack([jnp.asarray(f, jnp.float32) for f in found])
