"""The quantities of gradscope.statistics, reduced by JAX where the arrays are; each function works inside jit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

CHUNK = 1024
"""Sums run over so many elements first, then over their sums: float32 keeps seven digits that way."""


def wide(x: Array) -> Array:
    """The values as float32, or float64 where they are that; of complex numbers their magnitudes."""
    x = jnp.asarray(x)
    x = jnp.abs(x) if jnp.iscomplexobj(x) else x
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def total(x: Array) -> Array:
    """Sum of all entries, in chunks."""
    flat = x.ravel()
    if flat.size <= CHUNK:
        return flat.sum()
    whole = flat.size - flat.size % CHUNK
    sums = flat[:whole].reshape(-1, CHUNK).sum(1)
    return total(sums) + flat[whole:].sum()


def mean(x: Array) -> Array:
    """Mean of all entries; NaN without any."""
    return total(x) / x.size if x.size else jnp.full((), jnp.nan, x.dtype)


def norm(x: Array) -> Array:
    """L2 norm, scaled by the largest magnitude so that it neither overflows nor underflows; 0 for an empty array."""
    a = jnp.abs(wide(x))
    if not a.size:
        return jnp.zeros((), a.dtype)
    top = a.max()
    scale = jnp.where(jnp.isfinite(top) & (top > 0), top, 1)
    found = scale * jnp.sqrt(total(jnp.square(a / scale)))
    return jnp.where(jnp.isfinite(top), jnp.where(top > 0, found, 0), top)


SMALLEST = 1e-15
"""Norms below it may have lost squares to underflow, and are found anew."""
SMALL = 16384
"""Arrays of at most so many entries are reduced together with others of their shape."""
SAMPLED, BLOCK = 4096, 16
"""Entries that stand for a large array, and how many of them lie side by side."""


def norms(arrays: Sequence[Array]) -> Array:
    """The L2 norm of each, float32 of shape (n,), in one reading; only where squares overflow or underflow in two.

    Small arrays of one shape are reduced together: a computation of its own for each would cost more than its numbers.
    """
    if not arrays:
        return jnp.zeros(0, jnp.float32)
    sums: list[Any] = [None] * len(arrays)
    alike: dict[Any, list[int]] = {}
    for at, a in enumerate(arrays):
        if a.size <= SMALL:
            alike.setdefault((a.shape, a.dtype), []).append(at)
        else:
            sums[at] = total(jnp.square(wide(a)))
    for places in alike.values():
        stacked = jnp.square(wide(jnp.stack([arrays[at] for at in places]))).reshape(len(places), -1).sum(1)
        for k, at in enumerate(places):
            sums[at] = stacked[k]
    found = jnp.sqrt(jnp.stack([x.astype(jnp.float32) for x in sums]))
    fine = jnp.isfinite(found) & (found > SMALLEST)
    return jax.lax.cond(fine.all(), lambda: found, lambda: jnp.stack([norm(a).astype(jnp.float32) for a in arrays]))


def blocks(x: Array) -> Array:
    """Evenly spaced blocks of an array, one after the other: all of it, or 4096 entries of a larger one."""
    flat = x.ravel()
    if flat.size <= SAMPLED:
        return flat
    rows = flat.size // BLOCK
    count = SAMPLED // BLOCK
    return flat[: rows * BLOCK].reshape(rows, BLOCK)[:: rows // count][:count].ravel()


def sampled_size(size: int) -> int:
    """How many entries blocks() gives of an array of that size."""
    return min(size, SAMPLED)


def magnitude_bits(x: Array) -> tuple[Array, int]:
    """(the bits of |x|, those of the smallest normal number): tells apart what hardware rounds to zero."""
    width = x.dtype.itemsize * 8
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{width}"))
    normal = 1 << jnp.finfo(x.dtype).nmant
    return bits & ((1 << (width - 1)) - 1), normal


def gradient_statistics(gradient: Array) -> Array:
    """(share of zeros, largest finite magnitude, share under the smallest normal number), shape (3,)."""
    g = jnp.asarray(gradient)
    g = jnp.abs(g) if jnp.iscomplexobj(g) else g
    if not g.size:
        return jnp.zeros(3)
    bits, normal = magnitude_bits(g)
    size = jnp.abs(wide(g))
    largest = jnp.max(jnp.where(jnp.isfinite(size), size, 0))
    under = (bits > 0) & (bits < normal)
    return jnp.stack([(bits == 0).mean(), largest, under.mean()])


def nonfinite(x: Array) -> Array:
    """How many entries are NaN or Inf."""
    return (~jnp.isfinite(x)).sum().astype(jnp.float32)


def deviation(x: Array) -> Array:
    """sqrt(mean((x - mean)^2)); 0 for fewer than two entries."""
    v = wide(x)
    if v.size < 2:
        return jnp.zeros((), v.dtype)
    top = jnp.abs(v).max()
    scale = jnp.where(jnp.isfinite(top) & (top > 0), top, 1)
    v = v / scale
    return scale * jnp.sqrt(mean(jnp.square(v - mean(v))))


def parameter_statistics(before: Array, after: Array) -> Array:
    """(norm and deviation before, norm of the change, share of entries that changed, non-finite after), shape (5,)."""
    old, new = wide(before), wide(after)
    moved = (new != old).mean() if new.size else jnp.zeros(())
    return jnp.stack([norm(old), deviation(old), norm(new - old), moved, nonfinite(new)])


def output_statistics(output: Array, given: Array | None) -> Array:
    """MODULE_STATISTICS of one module call, shape (6,)."""
    out = wide(output)
    square = mean(jnp.square(out))
    variation = jnp.full((), jnp.nan, out.dtype)
    if out.ndim > 1 and out.shape[0] > 1:
        variation = mean(jnp.var(out, axis=0)) / jnp.maximum(square, 1e-30)
    in_square, in_bad = jnp.full((), jnp.nan, out.dtype), jnp.zeros((), out.dtype)
    if given is not None and jnp.issubdtype(given.dtype, jnp.floating):
        in_square, in_bad = mean(jnp.square(wide(given))), nonfinite(given)
    zeros = (out == 0).mean()
    return jnp.stack([square, in_square, zeros, variation, nonfinite(out), in_bad])


def inactive_units(output: Array) -> Array:
    """For each unit, the last dimension, whether it is zero for all samples."""
    return (output.reshape(-1, output.shape[-1]) == 0).all(axis=0)


def saturated_fraction(output: Array, operation: str) -> Array:
    """Share of values at the ends, where the slope is under 2 % of its largest."""
    if operation == "tanh":
        return (jnp.abs(output) > 0.99).mean()
    return ((output < 0.005) | (output > 0.995)).mean()


def data_statistics(data: Array) -> Array:
    """(mean, deviation, largest magnitude, largest / median feature size, its index, non-finite count), shape (6,)."""
    values = wide(data)
    finite = jnp.isfinite(values)
    values = jnp.where(finite, values, 0)
    ratio = largest = jnp.full((), jnp.nan, values.dtype)
    if values.ndim > 1 and values.shape[-1] > 1:
        sizes = jnp.sqrt(jnp.square(values.reshape(-1, values.shape[-1])).mean(0))
        median = jnp.nanmedian(jnp.where(sizes > 0, sizes, jnp.nan))
        several = (sizes > 0).sum() > 1
        ratio = jnp.where(several, sizes.max() / median, jnp.nan)
        largest = jnp.where(several, sizes.argmax(), jnp.nan).astype(values.dtype)
    bad = (~finite).sum().astype(values.dtype)
    return jnp.stack([mean(values), deviation(values), jnp.abs(values).max(), ratio, largest, bad])


def spread(values: Array) -> Array:
    """(mean, deviation, min, max), shape (4,)."""
    v = wide(values)
    return jnp.stack([mean(v), deviation(v), v.min(), v.max()])


def probability_margin(values: Array) -> Array:
    """How far the rows are from being probabilities: largest |sum - 1|, or Inf when a value is outside [0, 1]."""
    v = wide(values)
    outside = (v.min() < 0) | (v.max() > 1 + 1e-6)
    return jnp.where(outside, jnp.inf, jnp.abs(v.sum(-1) - 1).max())


def sample(arrays: Sequence[Array], most: int = 16384) -> Array:
    """One vector with at most `most` evenly spaced entries of each array: enough for a direction."""
    parts = [a.ravel()[:: max(1, a.size // most)].astype(jnp.float32) for a in arrays]
    return jnp.concatenate(parts) if parts else jnp.zeros(0)


def row(gradients: Sequence[Any]) -> dict[str, Any]:
    """What a step needs to know of its gradients: norms (n,), details (n, 3) and a sample for their direction."""
    norms = [norm(g).astype(jnp.float32) for g in gradients]
    details = [gradient_statistics(g) for g in gradients]
    return {
        "norms": jnp.stack(norms) if norms else jnp.zeros(0),
        "details": jnp.stack(details) if details else jnp.zeros((0, 3)),
        "direction": sample(gradients),
    }
