"""Ring: the variable that the steps of one optimizer write into, one row each, and the host reads now and then."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

ROWS = 64
"""Steps that may pass before the host reads what the graph wrote."""
HEAD = ("loss", "rate", "skipped", "scale", "clip_limit", "known")
"""What a row holds before its norms."""
ABSENT = -1.0
"""Stands in a row for the norm of a gradient that is None."""
TINY = {tf.float32: 1e-18, tf.float64: 1e-150}
"""A norm below it may have lost entries whose squares are no number of that type."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a step has beside its norms: tensors or numbers; NaN where it is not known."""

    loss: Any = math.nan
    rate: Any = math.nan
    skipped: Any = 0.0
    scale: Any = math.nan
    clip_limit: Any = math.nan
    known: float = 0.0
    """1 where the loss is known."""


class Ring:
    """One row per step: HEAD, then the norms of the variables' gradients. The steps are counted from 0.

    counts: variables that count the steps as well, where somebody reads them already.
    """

    def __init__(self, variables: list[Any], rows: int = ROWS, counts: Sequence[Any] = ()):
        self.width = len(variables)
        self.rows = rows
        self.read = 0
        with tf.init_scope():
            self.kind = widest([tf.as_dtype(v.dtype) for v in variables])
            empty = tf.fill([rows, len(HEAD) + self.width], tf.constant(ABSENT, self.kind))
            self.cells = tf.Variable(empty, trainable=False)
            self.counts = list(counts) or [counter()]
        self.count = self.counts[0]

    def write(self, head: Head, norms: Any, part: tuple[Any, int] | None = None) -> Any:
        """Part of the graph of a step: writes its row, and gives the number of the step.

        norms: shape (width,). part: (which, of how many) calls make one step; the row is that of the last one, its
        loss the mean of theirs.
        """
        step = tf.identity(self.count)
        at = tf.math.floormod(step, self.rows)
        values = [tf.cast(getattr(head, name), self.kind) for name in HEAD]
        if part is not None:
            which, many = tf.cast(part[0], self.kind), part[1]
            known = tf.where(which > 0, self.cells[at, 0], tf.zeros((), self.kind))
            values[0] = (known * which + values[0]) / (which + 1)
        self.cells.scatter_nd_update([[at]], [tf.concat([tf.stack(values), tf.cast(norms, self.kind)], 0)])
        done = 1 if part is None else tf.cast(tf.equal(part[0], many - 1), tf.int64)
        with tf.control_dependencies([step]):
            for count in self.counts:
                count.assign_add(done)
        return step

    def taken(self) -> int:
        """How many steps were written."""
        return int(self.count.numpy())

    def unread(self) -> list[tuple[int, NDArray[Any]]]:
        """(step, row) of the steps that came since the last call, in their order; those overwritten are missing."""
        taken = self.taken()
        first, self.read = max(self.read, taken - self.rows), taken
        if first >= taken:
            return []
        cells = self.cells.numpy()
        return [(step, cells[step % self.rows]) for step in range(first, taken)]


def counter() -> Any:
    """A variable that counts from 0, outside of every graph."""
    with tf.init_scope():
        return tf.Variable(0, dtype=tf.int64, trainable=False)


def widest(kinds: list[Any]) -> Any:
    """float64 if one of some types needs it, else float32."""
    return tf.float64 if any(k in {tf.float64, tf.complex128} for k in kinds) else tf.float32


def norms_of(gradients: list[Any]) -> Any:
    """The L2 norms of gradients, ABSENT for None, shape (len(gradients),), float64 if one of them is so.

    Summed in float32 at least: one pass over every gradient, and two more only when one of the norms may have
    overflowed or vanished in the sum.
    """
    present = [at for at, g in enumerate(gradients) if g is not None]
    kind = widest([gradients[at].dtype for at in present])
    absent = tf.fill([len(gradients)], tf.constant(ABSENT, kind))
    if not present:
        return absent
    arrays = [values_of(gradients[at], kind) for at in present]
    plain = tf.sqrt(2.0 * tf.stack([tf.nn.l2_loss(a) for a in arrays]))
    sound = tf.reduce_all(tf.logical_and(tf.math.is_finite(plain), plain > TINY[kind]))
    norms = rarely(tf.logical_not(sound), lambda: tf.stack([scaled_norm(a) for a in arrays]), lambda: plain)
    if len(present) == len(gradients):
        return norms
    return tf.tensor_scatter_nd_update(absent, [[at] for at in present], norms)


def rarely(wanted: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """tf.cond for what nearly always goes the second way: the branches stay functions, so that the nodes of the first
    cost nothing in an ordinary step."""
    result = tf.cond(wanted, then, otherwise)
    if not tf.executing_eagerly():
        for op in (result.op, *(t.op for t in result.op.inputs)):
            if op.type in {"If", "StatelessIf"}:
                op._set_attr("_lower_using_switch_merge", AttrValue(b=False))
    return result


def scaled_norm(values: Any) -> Any:
    """The L2 norm by way of the largest magnitude, so that no square overflows; Inf for Inf, NaN for NaN."""
    sizes = tf.abs(values)
    top = tf.maximum(tf.reduce_max(sizes), tf.zeros((), sizes.dtype))
    usable = tf.logical_and(tf.math.is_finite(top), top > 0)
    norm = tf.where(usable, top * tf.norm(sizes / tf.where(usable, top, tf.ones_like(top))), top)
    return tf.where(tf.reduce_any(tf.math.is_nan(sizes)), tf.constant(math.nan, sizes.dtype), norm)


def values_of(gradient: Any, kind: Any) -> Any:
    """A gradient in float32 or float64; of an IndexedSlices the rows that occur, those of the same index added up."""
    if isinstance(gradient, tf.IndexedSlices):
        if in_xla():
            gradient = tf.convert_to_tensor(gradient)
        else:
            indices, places = tf.unique(gradient.indices)
            gradient = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(indices))
    return tf.cast(tf.abs(gradient) if gradient.dtype.is_complex else gradient, kind)


def in_xla() -> bool:
    """Whether what is being traced will be compiled by XLA."""
    return not tf.executing_eagerly() and bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def sparse(step: Any) -> Any:
    """sparse_schedule of a step, in the graph."""
    early = tf.equal(tf.bitwise.bitwise_and(step, step - 1), 0)
    return tf.where(step > 64, tf.equal(step % 100, 0), early)


def head_of(row: NDArray[Any]) -> dict[str, float]:
    """The first columns of a row by their names."""
    return dict(zip(HEAD, np.asarray(row[: len(HEAD)], "f8").tolist(), strict=True))
