"""Reductions of torch tensors, where they live: nothing here moves a number to the host.

Every function takes tensors and gives small tensors on the same device, accumulated in float32 at least. The formulas
are those of gradscope.statistics, which the conformance tests hold them to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gradscope.row import Fetched
from torch import Tensor

DENSE_FLOATS = (torch.float32, torch.float64)
SMALL = 2**14
"""Tensors of at most that many elements are reduced in one call; its float32 sums are within 1e-5 up to here."""
PIECE = 2**17
"""Elements of one dot product: its float32 sums are within 1e-5 up to here."""
LARGEST = 3e38
"""What a finite number is limited to, for a History keeps float32."""


EXACTLY = frozenset({Tensor, torch.nn.Parameter})
"""The types of which the fast path knows where their values lie: of a sharded tensor it would see the local part."""


def is_plain(tensor: Tensor) -> bool:
    """Whether the fast path may take it: dense, float32 or float64, no tensor subclass."""
    return type(tensor) in EXACTLY and tensor.layout is torch.strided and tensor.dtype in DENSE_FLOATS


def dense_values(tensor: Tensor) -> Tensor:
    """The values that count: coalesced ones of a sparse tensor, the whole of a sharded one, magnitudes of complex."""
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.to_dense()
    return tensor.abs() if tensor.is_complex() else tensor


def fast_norms(tensors: Sequence[Tensor]) -> Tensor | list[float]:
    """L2 norms of plain tensors of one device, shape (len(tensors),).

    On the host they may overflow or underflow (see exact_norm); elsewhere they are summed in float64 where it can do
    that.
    """
    if tensors[0].device.type == "cpu":
        return host_norms(tensors)
    try:
        return torch.stack(torch._foreach_norm(tensors, 2, torch.float64))
    except (RuntimeError, NotImplementedError, TypeError):
        return torch.stack(torch._foreach_norm(tensors))


def norms_by_device(tensors: Sequence[Tensor]) -> Tensor:
    """fast_norms of tensors of several devices: one transfer for each, none to the host."""
    first = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
    parts: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        parts.setdefault(tensor.device, []).append(tensor)
    wide = torch.float32 if first.type == "mps" else torch.float64
    found = {d: iter(torch.as_tensor(fast_norms(held), dtype=wide).to(first).unbind()) for d, held in parts.items()}
    return torch.stack([next(found[t.device]) for t in tensors])


def host_norms(tensors: Sequence[Tensor]) -> list[float]:
    """fast_norms of the host: small tensors in one call, the others by dot products, which are faster there."""
    small = [t for t in tensors if t.numel() <= SMALL]
    found = iter(torch._foreach_norm(small)) if small else iter(())
    return [next(found).item() if t.numel() <= SMALL else long_norm(t) for t in tensors]


def long_norm(tensor: Tensor) -> float:
    """L2 norm of a plain tensor of the host, as a dot product or several."""
    flat = tensor.reshape(-1)
    if flat.numel() <= PIECE:
        return math.sqrt(torch.dot(flat, flat).item())
    return math.sqrt(math.fsum(torch.dot(piece, piece).item() for piece in flat.split(PIECE)))


def exact_norm(tensor: Tensor) -> Tensor:
    """L2 norm, float64, safe from overflow and underflow; NaN or Inf only when the tensor holds one."""
    if hasattr(tensor, "full_tensor"):
        return torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).full_tensor()
    values = dense_values(tensor)
    if not values.numel():
        return torch.zeros((), dtype=torch.float64, device=values.device)
    return wide_norm(values)


def wide_norm(values: Tensor) -> Tensor:
    """L2 norm, float64. Squares of float64 itself may overflow or vanish there, so those are scaled first."""
    scale = float64_scale(values)
    if scale is None:
        return torch.linalg.vector_norm(values, dtype=torch.float64)
    return torch.linalg.vector_norm(values / scale) * scale


def float64_scale(values: Tensor) -> Tensor | None:
    """Largest magnitude of a float64 tensor, one where that is zero or not finite; None for any other type."""
    if values.dtype is not torch.float64 or not values.numel():
        return None
    top = values.abs().max()
    return torch.where(torch.isfinite(top) & (top > 0), top, torch.ones_like(top))


def norms(tensors: Sequence[Tensor], plain: bool, scattered: bool = False) -> Tensor | list[float]:
    """L2 norms, shape (len(tensors),): the fast way when all are plain, else one by one. scattered: they lie on several
    devices."""
    if plain and EXACTLY.issuperset(map(type, tensors)):
        return norms_by_device(tensors) if scattered else fast_norms(tensors)
    found = [exact_norm(t) for t in tensors]
    return torch.stack([n.to(found[0].device) for n in found])


HALF_STEP = 2.0**-24
"""All numbers of float16, and sums of them, are multiples of it."""
HALF_TINY = 2.0**-14
"""The smallest normal number of float16."""


def gradient_statistics(gradient: Tensor, half: bool | None = False, scale: Any = None) -> Tensor:
    """(zero fraction, largest finite magnitude, fraction under the smallest normal number), float32.

    half: whether a gradient in float32 may have passed through float16, multiplied by `scale` (see half_underflow);
    None: nobody knows, and it has where it looks so.
    """
    values = dense_values(gradient)
    if not values.numel():
        return torch.zeros(3, device=values.device)
    magnitude = values.abs()
    smallest = torch.finfo(values.dtype).tiny
    zero = (magnitude == 0).float().mean()
    tiny = ((magnitude < smallest) & (magnitude > 0)).float().mean()
    if half is not False and values.dtype is torch.float32:
        passed = half_underflow(magnitude, scale)
        tiny = passed if half else torch.where(passed.isnan(), tiny, passed)
    if gradient.layout is not torch.strided and gradient.numel():
        share = values.numel() / gradient.numel()
        zero, tiny = 1 - (1 - zero) * share, tiny * share
    largest = torch.where(torch.isfinite(magnitude), magnitude, 0).max()
    largest = storable(largest) if largest.dtype is torch.float64 else largest.float()
    return torch.stack([zero, largest, tiny])


def half_underflow(magnitude: Tensor, scale: Any) -> Tensor:
    """Share of entries under the smallest normal number of float16, times `scale`; NaN where the entries are no sums of
    numbers of float16, so that they were never there, or were changed since."""
    if scale is not None:
        magnitude = magnitude * (scale.to(magnitude.device) if isinstance(scale, Tensor) else scale)
    steps = magnitude / HALF_STEP
    share = ((magnitude < HALF_TINY) & (magnitude > 0)).float().mean()
    return torch.where((steps == steps.round()).all(), share, math.nan)


def parameter_statistics(before: Tensor, after: Tensor) -> Tensor:
    """(norm before, deviation before, norm of the difference, fraction moved, non-finite count after), float32."""
    old, new = before, dense_values(after)
    if not old.numel():
        return torch.zeros(5, device=old.device)
    moved = (new != old).float().mean()
    wide = torch.promote_types(torch.promote_types(old.dtype, new.dtype), torch.float32)
    old, new = old.to(wide), new.to(wide)
    return torch.stack(
        [
            storable(wide_norm(old)),
            deviation(old),
            storable(wide_norm(new - old)),
            moved,
            (~torch.isfinite(new)).sum().float(),
        ]
    )


def deviation(values: Tensor) -> Tensor:
    """sqrt(mean((x - mean)^2)), float32; 0 for fewer than two entries."""
    if values.numel() < 2:
        return torch.zeros((), device=values.device)
    scale = float64_scale(values)
    if scale is not None:
        return storable((values / scale).std(correction=0) * scale)
    return storable((values - values.flatten()[0]).std(correction=0))  # so that equal values deviate by exactly zero


def storable(value: Tensor) -> Tensor:
    """A number as float32, Inf only when it was."""
    return torch.where(torch.isfinite(value), value.clamp(max=LARGEST), value).float()


def output_statistics(output: Tensor, given: Tensor | None) -> Tensor:
    """MODULE_STATISTICS (gradscope.statistics) of one module call, float32, shape (6,)."""
    out = output.detach().float()
    square = out.square().mean()
    zero = (out == 0).float().mean()
    nan = torch.full((), float("nan"), device=out.device)
    variation = nan
    if out.dim() > 1 and out.shape[0] > 1:
        variation = out.var(dim=0, correction=0).mean() / square.clamp_min(1e-30)
    in_square, in_bad = nan, torch.zeros((), device=out.device)
    if given is not None and given.is_floating_point() and given.numel():
        values = given.detach().float()
        in_square = values.square().mean()
        in_bad = (~torch.isfinite(values)).sum().float()
    return torch.stack([square, in_square, zero, variation, (~torch.isfinite(out)).sum().float(), in_bad])


def channel_dimension(output: Tensor, convolutional: bool) -> int:
    """Which dimension counts the units: 1 after a convolution, the last one otherwise."""
    return 1 if convolutional and output.dim() > 2 else output.dim() - 1


def inactive_units(output: Tensor, dimension: int) -> tuple[Tensor, int]:
    """(for each unit whether it is zero for all samples, how many samples there were)."""
    units = output.detach().movedim(dimension, -1).flatten(0, -2) if output.dim() > 1 else output.detach()[None]
    return (units == 0).all(dim=0), units.shape[0]


def saturated_fraction(output: Tensor, operation: str) -> Tensor:
    """Fraction of values at the ends, where the slope is under 2 % of its largest: |tanh| > 0.99, sigmoid out of
    [0.005, 0.995]."""
    out = output.detach()
    if operation == "tanh":
        return (out.abs() > 0.99).float().mean()
    return ((out < 0.005) | (out > 0.995)).float().mean()


def data_statistics(data: Tensor, dimension: int) -> Tensor:
    """(mean, deviation, largest magnitude, largest / median feature size, index of it, non-finite count).

    The size of a feature is its root mean square. The ratio is NaN with fewer than two features.
    """
    values = data.detach().float()
    bad = (~torch.isfinite(values)).sum().float()
    values = torch.where(torch.isfinite(values), values, 0)
    deviation = values.std(correction=0)
    ratio = largest = torch.full((), float("nan"), device=values.device)
    if values.dim() > 1 and values.shape[dimension] > 1:
        sizes = values.movedim(dimension, -1).flatten(0, -2).square().mean(0).sqrt()
        present = sizes[sizes > 0]
        if present.numel() > 1:
            ratio, largest = sizes.max() / present.median(), sizes.argmax().float()
    return torch.stack([values.mean(), deviation, values.abs().max(), ratio, largest, bad])


def spread(values: Tensor) -> Tensor:
    """(mean, deviation, min, max) in float64."""
    v = values.detach().double()
    if not v.numel():
        return torch.full((4,), float("nan"), dtype=torch.float64, device=v.device)
    return torch.stack([v.mean(), v.std(correction=0), v.min(), v.max()])


def sample(tensors: Sequence[Tensor], most: int = 16384) -> Tensor:
    """One vector with at most `most` evenly spaced entries of each tensor, on the device of the first: enough for a
    direction."""
    parts = []
    for tensor in tensors:
        flat = dense_values(tensor).flatten()
        parts.append(flat[:: max(1, flat.numel() // most)].float().to(tensors[0].device))
    return torch.cat(parts)


def fetch(arrays: Sequence[Any]) -> Fetched:
    """The values of the tensors among them, by id; one transfer for each device."""
    devices: dict[torch.device, list[Tensor]] = {}
    for array in arrays:
        if isinstance(array, Tensor):
            devices.setdefault(array.device, []).append(array)
    found: Fetched = {}
    for device, held in devices.items():
        wide = torch.float32 if device.type == "mps" else torch.float64
        flat = torch.cat([t.detach().reshape(-1).to(wide) for t in held]).cpu().double().numpy()
        ends = np.cumsum([t.numel() for t in held])
        found |= {id(t): part for t, part in zip(held, np.split(flat, ends[:-1]), strict=True)}
    return found
