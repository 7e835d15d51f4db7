"""Samples: which samples and features of a batch are marked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MOST_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """How many samples a model was given. axis: the dimension of its input that counts them, 0 or 1. before: how long
    the dimensions before that are, taken together."""

    size: int
    axis: int = 0
    before: int = 1


def rows_of(bad: Tensor, batch: Batch | None) -> tuple[int, ...]:
    """The indices along the batch of what is marked; () where no dimension is the batch's."""
    if batch is None or not batch.size or not bad.dim():
        return ()
    shape, size = list(bad.shape), batch.size
    if size in shape[:2]:
        axis = batch.axis if shape[batch.axis : batch.axis + 1] == [size] else shape.index(size)
        marked = bad.movedim(axis, 0).reshape(size, -1)
    elif batch.axis == 0 and shape[0] % size == 0:
        marked = bad.reshape(size, -1)
    elif batch.axis == 1 and shape[0] == batch.before * size:
        marked = bad.reshape(batch.before, size, -1).movedim(1, 0).reshape(size, -1)
    else:
        return ()
    return tuple(marked.any(1).nonzero().flatten()[:MOST_SAMPLES].tolist())


def features_of(bad: Tensor) -> tuple[int, ...]:
    """The indices along the last axis of a table or sequence, or the channels of images."""
    if bad.dim() < 2:
        return ()
    axis = 1 if bad.dim() > 3 else bad.dim() - 1
    found = bad.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
    return tuple(found[:MOST_SAMPLES].tolist())
