"""Memory: which record wrote what a tensor holds, where several tensors are views of one storage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradscope_torch.replay.values import key_of


@dataclass(frozen=True, slots=True)
class Write:
    """What a record wrote: the tensor, the state it left it in, the index of the record."""

    tensor: Tensor
    state: int
    at: int


class Memory:
    """The writes of what is not finite that still stand, by the storage written to. Tensors are held, so that their
    storage is not given to another."""

    def __init__(self) -> None:
        self._writes: dict[int, list[Write]] = {}

    def wrote(self, tensor: Tensor, state: int, at: int) -> None:
        """A record wrote a tensor; what it covers is written no more by those before."""
        self.forget(tensor)
        self._writes.setdefault(key_of(tensor), []).append(Write(tensor, state, at))

    def forget(self, tensor: Tensor) -> None:
        """A tensor was written to, and is finite."""
        key = key_of(tensor)
        if key in self._writes:
            self._writes[key] = [w for w in self._writes[key] if not covers(tensor, w.tensor)]

    def of(self, tensor: Tensor) -> list[Write]:
        """The writes to what a tensor holds, the first one first."""
        return [w for w in self._writes.get(key_of(tensor), ()) if overlap(w.tensor, tensor)]


def span(tensor: Tensor) -> tuple[int, int]:
    """[first, beyond the last) element of the storage that a tensor takes; (0, 0) of an empty one."""
    if not tensor.numel():
        return 0, 0
    first = tensor.storage_offset()
    return first, first + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))


def same_place(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are the same elements of one storage, in the same order."""
    return layout(left) == layout(right)


def layout(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor's elements are."""
    if tensor.layout is not torch.strided:
        return (key_of(tensor),)
    return key_of(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.element_size()


def overlap(left: Tensor, right: Tensor) -> bool:
    """Whether two views of one storage share an element."""
    if not comparable(left, right):
        return True
    (a, b), (c, d) = span(left), span(right)
    if b <= c or d <= a:
        return False
    return (left.is_contiguous() and right.is_contiguous()) or bool(marked(left, right).any())


def covers(left: Tensor, right: Tensor) -> bool:
    """Whether a view of a storage takes every element of another."""
    if not comparable(left, right) or same_place(left, right):
        return True
    (a, b), (c, d) = span(left), span(right)
    if c < a or d > b:
        return False
    return left.is_contiguous() or bool(marked(left, right).all())


def comparable(left: Tensor, right: Tensor) -> bool:
    """Whether the elements of two views can be counted in the same way."""
    strided = left.layout is torch.strided and right.layout is torch.strided
    return strided and left.element_size() == right.element_size()


def marked(left: Tensor, right: Tensor) -> Tensor:
    """A mask over the right one: the elements that are the left one's too."""
    (a, b), (c, d) = span(left), span(right)
    first = min(a, c)
    marks = torch.zeros(max(b, d) - first, dtype=torch.bool)
    marks.as_strided(left.shape, left.stride(), left.storage_offset() - first).fill_(True)
    return marks.as_strided(right.shape, right.stride(), right.storage_offset() - first)
