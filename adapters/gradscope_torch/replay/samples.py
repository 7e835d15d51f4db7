"""Samples: which samples and features of a batch are marked."""

from __future__ import annotations

from torch import Tensor

MOST_SAMPLES = 4096


def rows_of(bad: Tensor, size: int | None) -> tuple[int, ...]:
    """The indices along the batch of what is marked; () where no dimension is the batch's."""
    if not size or not bad.dim():
        return ()
    shape = list(bad.shape)
    if size in shape[:2]:
        marked = bad.movedim(shape.index(size), 0).flatten(1) if bad.dim() > 1 else bad[:, None]
        found = marked.any(1).nonzero().flatten()
    elif shape[0] % size == 0:
        found = bad.reshape(size, -1).any(1).nonzero().flatten()
    else:
        return ()
    return tuple(found[:MOST_SAMPLES].tolist())


def features_of(bad: Tensor) -> tuple[int, ...]:
    """The indices along the last axis of a table or sequence, or the channels of images."""
    if bad.dim() < 2:
        return ()
    axis = 1 if bad.dim() > 3 else bad.dim() - 1
    found = bad.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
    return tuple(found[:MOST_SAMPLES].tolist())
