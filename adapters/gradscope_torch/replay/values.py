"""Values: whether the numbers of a tensor are finite, and which memory it lies in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FINITE, MASKED, BAD = 0, 1, 2
"""Of a tensor: all finite; infinite on purpose, as masks are; not finite."""


def floats(value: Any) -> list[Tensor]:
    """The tensors of floating point, or complex ones, in the arguments or the result of an operation."""
    return [t for t in flat(value) if isinstance(t, Tensor) and (t.is_floating_point() or t.is_complex())]


def flat(value: Any) -> list[Any]:
    """What containers hold."""
    if isinstance(value, list | tuple):
        return [x for held in value for x in flat(held)]
    if isinstance(value, dict):
        return [x for held in value.values() for x in flat(held)]
    return [value]


def plain(tensor: Tensor) -> Tensor:
    """The values of a tensor that can be looked at one by one."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        return tensor._values()
    if tensor.layout is not torch.strided:
        return tensor.values() if hasattr(tensor, "values") else tensor.to_dense()
    return tensor.float() if tensor.element_size() == 1 else tensor


def state_of(tensor: Tensor) -> int:
    """FINITE or BAD."""
    if not tensor.numel():
        return FINITE
    return FINITE if bool(torch.isfinite(plain(tensor)).all()) else BAD


def is_mask(tensor: Tensor) -> bool:
    """Whether what is not finite in a tensor that came from outside is meant so: a number by itself, or -inf alone."""
    values = plain(tensor)
    if bool(torch.isnan(values).any()):
        return False
    return tensor.dim() == 0 or (not values.is_complex() and not bool((values == float("inf")).any()))


def is_feature(tensor: Tensor) -> bool:
    """Whether a tensor that is_mask() looks like data: less than half of it is infinite, and the rest differs."""
    values = plain(tensor)
    rest = values[torch.isfinite(values)]
    return tensor.dim() > 0 and 2 * rest.numel() > values.numel() and bool((rest != rest[0]).any())


def is_zero_one(tensor: Tensor) -> bool:
    """Whether a tensor holds zeros and ones alone."""
    values = plain(tensor)
    return bool(((values == 0) | (values == 1)).all())


def key_of(tensor: Tensor) -> int:
    """The memory that a tensor lies in, which its views share."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return -id(tensor)


def kinds_of(tensor: Tensor) -> str:
    """NaN, Inf or both, whichever a tensor holds."""
    values = plain(tensor)
    held = {"NaN": bool(torch.isnan(values).any()), "Inf": bool(torch.isinf(values).any())}
    return " and ".join(name for name, there in held.items() if there)
