"""Reductions of MXNet's arrays, where they live: small arrays come out, and only `fetch` and `norms` wait for them.

The formulas are those of gradscope.statistics, which the conformance tests hold them to. Callers are outside of
autograd.record(), or have paused it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gradscope.row import Fetched
from mxnet import nd
from mxnet.contrib.amp import amp

SMALL = 2**11
"""Arrays of at most that many elements are summed in one call; its float32 sums are within 1e-5 up to here."""
PIECE = 2**16
"""Elements of one dot product: its float32 sums are within 1e-5 up to here."""
SAFE = (1e-30, 1e37)
"""Between these a float32 sum of squares has neither lost squares to underflow nor overflowed."""


def plain(array: Any) -> Any:
    """The values that count as a dense array: rows that are there of a sparse one, mx.np's as mx.nd's."""
    if getattr(array, "stype", "default") != "default":
        return array.data if array.stype == "row_sparse" else array.tostype("default")
    return array.as_nd_ndarray()


def type_name(array: Any) -> str:
    """The name of an array's type. numpy has no bfloat16: MXNet makes one of two bytes that have a name."""
    kind = np.dtype(array.dtype)
    return kind.names[0] if kind.names else kind.name


def smallest_normal(array: Any) -> float:
    """The smallest normal number of an array's type; bfloat16 has that of float32."""
    name = type_name(array)
    return float(np.finfo("float32" if name == "bfloat16" else name).tiny)


def is_empty(array: Any) -> bool:
    """Whether an array holds no value: only arrays of mx.np, and sparse ones of which no row is there, can."""
    return plain(array).size == 0


def wide(array: Any) -> Any:
    """The values in float32 at least."""
    values = plain(array)
    return values if values.dtype in {np.float32, np.float64} else values.astype("float32")


def double(array: Any) -> Any:
    """The values, flat, in float64."""
    return plain(array).astype("float64").reshape((-1,))


def constant(value: float, like: Any) -> Any:
    """A number beside another array, float64, shape (1,)."""
    return nd.full((1,), value, ctx=like.ctx, dtype="float64")


def one(value: Any) -> Any:
    """A reduced value as float64, shape (1,)."""
    return value.as_nd_ndarray().astype("float64").reshape((1,))


def joined(values: Sequence[Any]) -> Any:
    """Arrays of float64 end to end, on the device of the first; with nothing in AMP's way, which casts float32."""
    first = values[0].ctx
    parts = [v if v.ctx == first else v.as_in_context(first) for v in values]
    return nd.concat(*parts, dim=0) if len(parts) > 1 else parts[0]


def finite(values: Any) -> Any:
    """1 where a number is finite, else 0. (nd.contrib.isfinite is several times slower.)"""
    return (values - values) == 0


def total(values: Any) -> Any:
    """The sum of flat values, in float64, shape (1,): as a dot product, for nd.sum takes twenty times as long."""
    numbers = values if values.dtype == np.float64 else values.astype("float64")
    return nd.dot(numbers, nd.ones_like(numbers)).reshape((1,))


def column_sums(matrix: Any) -> Any:
    """The sums over the rows of a matrix of float64."""
    return nd.dot(nd.ones((1, matrix.shape[0]), ctx=matrix.ctx, dtype="float64"), matrix).reshape((-1,))


def share(mask: Any) -> Any:
    """The share of ones among flat zeros and ones, float64, shape (1,)."""
    return total(mask) / mask.size


# -- gradients and parameters ------------------------------------------------------------------------------------------


def exact_norm(array: Any) -> Any:
    """L2 norm of an array that is not empty, float64, shape (1,); NaN or Inf only when the array holds one."""
    values = double(array)
    square = nd.dot(values, values).reshape((1,))
    if array.dtype != np.float64:
        return square.sqrt()
    scaled = nd.norm(values).reshape((1,))  # is NaN where the array holds an Inf: then the square is right
    inside = (square > 1e-290) * (square < 1e290)
    return nd.where(inside, square.sqrt(), nd.where(finite(scaled), scaled, square.sqrt()))


def norms(arrays: Sequence[Any]) -> list[float]:
    """L2 norms of dense or sparse arrays; waits for them. Where squares do not fit into float32 they are found anew."""
    if not arrays:
        return []
    norms = {at: 0.0 for at, a in enumerate(arrays) if is_empty(a)}
    flat = {at: wide(a).reshape((-1,)) for at, a in enumerate(arrays) if at not in norms}
    quick = [at for at, f in flat.items() if f.dtype == np.float32 and not amp._amp_initialized]
    found = dict(zip(quick, squares([flat[at] for at in quick]), strict=True)) if quick else {}
    norms |= {at: math.sqrt(s) for at, s in found.items() if SAFE[0] < s < SAFE[1]}
    exact = {at: exact_norm(a) for at, a in enumerate(arrays) if at not in norms}
    fetched = fetch(list(exact.values()))
    norms |= {at: float(fetched[id(e)][0]) for at, e in exact.items()}
    return [norms[at] for at in range(len(arrays))]


def squares(flat: Sequence[Any]) -> list[float]:
    """Sums of squares of flat float32 arrays, in float32: small ones in one call, the others as dot products."""
    small = [f for f in flat if f.size <= SMALL]
    parts = [nd.multi_sum_sq(*small[i : i + 64], num_arrays=len(small[i : i + 64])) for i in range(0, len(small), 64)]
    pieces = []
    for one_array in (f for f in flat if f.size > SMALL):
        cut = [one_array[i : i + PIECE] for i in range(0, one_array.size, PIECE)]
        pieces.append(len(cut))
        parts += [nd.dot(c, c).reshape((1,)) for c in cut]
    numbers = iter(joined(parts).asnumpy().tolist())
    quick = iter([next(numbers) for _ in small])
    long = iter([math.fsum(next(numbers) for _ in range(n)) for n in pieces])
    return [next(quick) if f.size <= SMALL else next(long) for f in flat]


def gradient_statistics(gradient: Any, scale: float, sound: bool = False) -> Any:
    """(zero fraction, largest finite magnitude times |scale|, fraction under the smallest normal number of its type),
    float64, shape (3,). sound: all of its entries are known to be finite."""
    whole = math.prod(gradient.shape)
    if is_empty(gradient):
        return nd.array([1.0 if whole else 0.0, 0.0, 0.0], ctx=gradient.ctx, dtype="float64")
    values = wide(gradient).reshape((-1,))
    size = nd.abs(values)
    present = size != 0
    zero = 1 - total(present) / whole
    tiny = total(present * (size < smallest_normal(gradient))) / whole
    if not sound:
        size = nd.where(finite(size), size, nd.zeros_like(size))
    return joined([zero, one(size.max()) * abs(scale), tiny])


def parameter_statistics(before: Any, after: Any) -> Any:
    """(norm before, deviation before, norm of the difference, fraction moved, non-finite count after), float64."""
    if is_empty(after):
        return nd.zeros((5,), ctx=after.ctx, dtype="float64")
    old, new = double(before), double(after)
    change = new - old
    left, right = wide(before).reshape((-1,)), wide(after).reshape((-1,))
    bad = total(1 - finite(right))
    return joined([length(old), deviation(old), length(change), share(left != right), bad])


def length(values: Any) -> Any:
    """L2 norm of flat float64 values, shape (1,)."""
    return nd.dot(values, values).sqrt().reshape((1,))


def mean_square(values: Any) -> Any:
    """mean(x^2) of flat float64 values, shape (1,)."""
    return nd.dot(values, values).reshape((1,)) / values.size


def deviation(values: Any) -> Any:
    """sqrt(mean((x - mean)^2)) of flat float64 values, shape (1,)."""
    return mean_square(values - total(values) / values.size).sqrt()


def sample(arrays: Sequence[Any], most: int = 16384) -> Any:
    """One vector with at most `most` evenly spaced entries of each array: enough for a direction."""
    parts = []
    for array in arrays:
        if not is_empty(array):
            flat = wide(array).reshape((-1,))
            parts.append(flat[:: max(1, flat.size // most)].astype("float64"))
    return joined(parts) if parts else None


def cosine(a: Any, b: Any) -> Any:
    """Cosine of the angle between two vectors; NaN when one is zero."""
    return nd.dot(a, b).reshape((1,)) / (length(a) * length(b))


# -- what a forward pass shows -----------------------------------------------------------------------------------------


def output_statistics(output: Any, given: Any) -> Any:
    """MODULE_STATISTICS (gradscope.statistics) of one call of a block, float64, shape (6,)."""
    out, seen = double(output), wide(output).reshape((-1,))
    square = mean_square(out)
    variation = constant(math.nan, out)
    if len(output.shape) > 1 and output.shape[0] > 1:
        rows = out.reshape((output.shape[0], -1))
        centred = (rows - (column_sums(rows) / output.shape[0]).reshape((1, -1))).reshape((-1,))
        variation = mean_square(centred) / nd.maximum(square, constant(1e-30, out))
    in_square, in_bad = constant(math.nan, out), constant(0.0, out)
    if given is not None and not is_empty(given):
        in_square, in_bad = mean_square(double(given)), total(1 - finite(wide(given).reshape((-1,))))
    return joined([square, in_square, share(seen == 0), variation, total(1 - finite(seen)), in_bad])


def channel_dimension(output: Any, convolutional: bool) -> int:
    """Which dimension counts the units: 1 after a convolution, the last one otherwise."""
    return 1 if convolutional and len(output.shape) > 2 else len(output.shape) - 1


def by_unit(array: Any, dimension: int) -> Any:
    """The values as a matrix whose columns are the units, float32 at least."""
    values = wide(array)
    if len(array.shape) < 2:
        return values.reshape((1, -1))
    return nd.moveaxis(values, dimension, -1).reshape((-1, array.shape[dimension]))


def inactive_units(output: Any, dimension: int) -> tuple[Any, int]:
    """(for each unit 1 when it is zero for all samples, else 0; how many samples there were)."""
    units = by_unit(output, dimension)
    return (units != 0).max(axis=0) == 0, int(units.shape[0])


def saturated_fraction(output: Any, operation: str) -> Any:
    """Share of values at the ends, where the slope is under 2 % of its largest: |tanh| > 0.99, sigmoid out of
    [0.005, 0.995]; float64, shape (1,)."""
    out = wide(output).reshape((-1,))
    if operation == "tanh":
        return share(nd.abs(out) > 0.99)
    return share((out < 0.005) + (out > 0.995))


def data_statistics(data: Any, dimension: int) -> Any:
    """(mean, deviation, largest magnitude, largest / median feature size, index of it, non-finite count), float64.

    The size of a feature is its root mean square. The ratio is NaN with fewer than two features.
    """
    values = wide(data)
    fine = finite(values)
    bad = total(1 - fine.reshape((-1,)))
    values = nd.where(fine, values, nd.zeros_like(values))
    flat = double(values)
    found = [total(flat) / flat.size, deviation(flat), one(nd.abs(values).max())]
    ratio = largest = constant(math.nan, flat)
    if len(data.shape) > 1 and data.shape[dimension] > 1:
        units = by_unit(values, dimension).astype("float64")
        sizes = (column_sums(units.square()) / units.shape[0]).sqrt()
        present = total(sizes != 0)
        several = present > 1
        ratio = nd.where(several, one(sizes.max()) / median_of_present(sizes, present), ratio)
        largest = nd.where(several, one(sizes.argmax(axis=0)), largest)
    return joined([*found, ratio, largest, bad])


def median_of_present(sizes: Any, present: Any) -> Any:
    """The median of those sizes that are not zero; sizes are not negative."""
    ordered = nd.sort(sizes, is_ascend=False)
    low, high = ((present - 1) / 2).floor(), (present / 2).floor()
    return (one(nd.take(ordered, high)) + one(nd.take(ordered, low))) / 2


def spread(values: Any) -> Any:
    """(mean, deviation, min, max), float64, shape (4,); NaN for an empty array."""
    if is_empty(values):
        return nd.full((4,), math.nan, ctx=values.ctx, dtype="float64")
    v, seen = double(values), wide(values)
    return joined([total(v) / v.size, deviation(v), one(seen.min()), one(seen.max())])


def probability_margin(values: Any) -> Any:
    """How far rows are from probabilities: largest |sum - 1|; Inf for a value outside [0, 1]; float64, shape (1,)."""
    v = wide(values)
    rows = double(values).reshape((-1, values.shape[-1]))
    sums = nd.dot(rows, nd.ones((values.shape[-1], 1), ctx=rows.ctx, dtype="float64"))
    outside = one(v.min() < 0) + one(v.max() > 1 + 1e-6)
    return nd.where(outside > 0, constant(math.inf, rows), one(nd.abs(sums - 1).max()))


# -- to the host -------------------------------------------------------------------------------------------------------


def fetch(arrays: Sequence[Any]) -> Fetched:
    """The values of MXNet's arrays among them, by id; one transfer."""
    held = [a for a in arrays if isinstance(a, nd.NDArray)]
    if not held:
        return {}
    flat = joined([a.as_nd_ndarray().astype("float64").reshape((-1,)) for a in held]).asnumpy()
    ends = np.cumsum([a.size for a in held])
    return {id(a): part for a, part in zip(held, np.split(flat, ends[:-1]), strict=True)}
