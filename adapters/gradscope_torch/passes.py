"""Passes: what was heard since the last step. Losses of backward passes, clipping, loss scaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradscope_torch.measure import dense_values, exact_norm

SCALE = "gradscope loss scale"
"""The key of a graph node's metadata under which the scale of a scaled loss stands."""
HALF = (torch.float16, torch.bfloat16)
ROUNDING = 0.02
"""Norms of half types, and of their parts, are rounded by less."""
NEAR = 32
"""A loss made from a scaled one (divided, summed) has it among that many nodes at the end of its graph."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One call of clipping: whose gradients (parameter ids), their norm before, and the limit."""

    whose: frozenset[int]
    before: Any
    limit: Any


@dataclass(frozen=True, slots=True)
class Mark:
    """How things were when a pass began."""

    losses: list[tuple[Any, Any]]
    many: int
    scale: Any


class Passes:
    """The backward passes since the last step."""

    def __init__(self) -> None:
        self.losses: list[tuple[Any, Any]] = []
        self.count = 0
        self.scale: Any = None
        self._clips: list[Clip] = []
        self._scaling = False
        self._unscaled: set[int] = set()

    def clear(self) -> None:
        """A step was taken, or the gradients were thrown away. Lists are not emptied: a row may hold them."""
        self.losses, self.count, self.scale, self._clips = [], 0, None, []
        self._unscaled = set()

    def mark(self) -> Mark:
        """What take_back() wants."""
        return Mark(self.losses, len(self.losses), self.scale)

    def begin(self, tensors: Any) -> None:
        """backward() was called on a tensor, or a tuple of them."""
        for tensor in tensors if isinstance(tensors, tuple) else (tensors,):
            if isinstance(tensor, Tensor) and tensor.numel() == 1:
                scale = scale_of(tensor) if self._scaling else None
                self.losses.append((held(tensor), scale))
                self.scale = scale if scale is not None else self.scale
        self.count += 1

    def take_back(self, mark: Mark) -> None:
        """The last pass was none of ours; unless a step inside it has used it up already, it is forgotten."""
        if self.losses is mark.losses and self.count:
            del self.losses[mark.many :]
            self.count -= 1
            self.scale = mark.scale

    def scaled(self, outputs: Any, scale: Any) -> None:
        """A scaler multiplied one loss or several. The scale is left in the graph, where any loss made from them
        finds it, and so no tensor is held."""
        if scale is None:
            return
        kept = held(scale)
        for output in (
            (outputs,) if isinstance(outputs, Tensor) else outputs if isinstance(outputs, list | tuple) else ()
        ):
            if isinstance(output, Tensor) and output.grad_fn is not None:
                output.grad_fn.metadata[SCALE] = kept
                self._scaling = True

    def unscaled(self, optimizer: Any) -> None:
        """A scaler took its scale from the gradients of an optimizer."""
        self._unscaled |= {id(p) for group in optimizer.param_groups for p in group["params"]}

    def clipped(self, parameters: Sequence[Any], norm: Any, limit: Any) -> None:
        """Gradients of total norm `norm` were limited to `limit`. A second call on the same parameters clips no more
        than what the first one left: the larger norm and the smaller limit count. Both are told without the scale that
        the gradients still had, for the step is told so too."""
        whose = frozenset(map(id, parameters))
        before, bound = number(wide(norm, parameters)), number(limit)
        if self.scale is not None and not whose <= self._unscaled:
            before, bound = divided(before, self.scale), divided(bound, self.scale)
        for earlier in [c for c in self._clips if not c.whose.isdisjoint(whose)]:
            self._clips.remove(earlier)
            whose |= earlier.whose
            before, bound = larger(earlier.before, before), smaller(earlier.limit, bound)
        self._clips.append(Clip(whose, before, bound))

    @property
    def clip(self) -> tuple[Any, Any] | None:
        """(norm before clipping, limit), of several calls together: sqrt(sum before^2), and the norm that was left,
        sqrt(sum min(before, limit)^2), which is below it when one of them clipped. None without a call."""
        if not self._clips:
            return None
        if len(self._clips) == 1:
            return self._clips[0].before, self._clips[0].limit
        left = [smaller(c.before, c.limit) for c in self._clips]
        return root_of_squares([c.before for c in self._clips]), root_of_squares(left)


def wide(norm: Any, parameters: Sequence[Any]) -> Any:
    """An L2 norm that was rounded to a half type, or is Inf in it, found anew in a wide one."""
    if not isinstance(norm, Tensor) or norm.dtype not in HALF:
        return norm
    gradients = [p.grad for p in parameters if p.grad is not None]
    found = root_of_squares([exact_norm(g) for g in gradients]) if gradients else norm
    close = torch.isclose(norm.to(found), found, rtol=ROUNDING) | (norm.isinf() & (found > torch.finfo(norm.dtype).max))
    return torch.where(close, found, norm.to(found))  # else it is another norm, as that of the largest entry


def divided(value: Any, scale: Any) -> Any:
    """value / scale, NaN where the scale has fallen to zero."""
    if not isinstance(value, Tensor) and not isinstance(scale, Tensor):
        return value / scale if scale else math.nan
    value, scale = together([value, scale])
    return value / scale


def held(number: Tensor) -> Any:
    """A number that stays what it is: a float from the host, a copy on an accelerator, which is not waited for."""
    return number.item() if number.device.type == "cpu" else number.detach().clone()


def number(value: Any) -> Any:
    """A float where that needs no waiting, else a tensor without dimensions."""
    if not isinstance(value, Tensor):
        return float(value)
    return held(dense_values(value).reshape(()))


def larger(a: Any, b: Any) -> Any:
    """The larger of two numbers, NaN when the first is."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return max(a, b)
    return torch.maximum(*together([a, b]))


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two numbers, NaN when the first is."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return min(a, b)
    return torch.minimum(*together([a, b]))


def root_of_squares(values: Sequence[Any]) -> Any:
    """sqrt(sum v^2)."""
    if not any(isinstance(v, Tensor) for v in values):
        return math.hypot(*values)
    return torch.linalg.vector_norm(torch.stack(together(values)))


def together(values: Sequence[Any]) -> list[Tensor]:
    """Numbers as tensors of one type on the device of the first tensor."""
    device = next(v.device for v in values if isinstance(v, Tensor))
    wide = torch.float32 if device.type == "mps" else torch.float64
    return [
        v.to(device, wide) if isinstance(v, Tensor) else torch.full((), v, device=device, dtype=wide) for v in values
    ]


def scale_of(loss: Tensor) -> Any:
    """The scale of a loss that a scaler multiplied, or that was made from one; None for any other."""
    waiting, seen = [loss.grad_fn], 0
    while waiting and seen < NEAR:
        node = waiting.pop(0)
        if node is None:
            continue
        seen += 1
        if SCALE in node.metadata:
            return node.metadata[SCALE]
        waiting += [n for n, _ in node.next_functions]
    return None
