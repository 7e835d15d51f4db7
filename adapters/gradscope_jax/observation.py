"""observe(): the statistics of one step as a pure function, for use inside jit; record() takes them on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradscope.errors import UsageError
from gradscope.row import PARAMETER_QUANTITIES, Row, write
from gradscope.scope import Scope

from gradscope_jax import measure
from gradscope_jax.made import Made
from gradscope_jax.names import Leaf, cut, leaves_of, stacked_in
from gradscope_jax.objective import Objective
from gradscope_jax.ring import ABSENT

COLUMNS = ("gradient_norm", *PARAMETER_QUANTITIES)
"""Columns of what observe() returns; its first row holds the loss instead."""
WAITING_ROWS = 64
"""Steps that may wait on the device before they are written together."""


def observe(
    grads: Any,
    *,
    params: Any = None,
    updates: Any = None,
    loss: Any = None,
    stacked: str | Sequence[str] = (),
    full: bool = True,
) -> jax.Array:
    """The statistics of one step, to be called inside jit; hand the result to record() outside of it.

    grads: a tree of arrays. params: the same tree before the step. updates: what is added to params, as optax gives it.
    stacked: names of subtrees whose arrays hold several layers along their first axis (as scan wants them): each layer
    gets a row of its own. full: whether more than norms are computed; a static argument of the jitted function, such as
    step % 100 == 0, makes the full statistics as rare as they need to be.

    Returns float32 of shape (1 + leaves, 9): row 0 holds the loss, every other row COLUMNS of a leaf; what is not known
    is ABSENT.
    Arrays that are sharded by jit are reduced over all their shards.
    """
    leaves = leaves_of(grads, stacked_in(grads, stacked))
    arrays = jax.tree.leaves(grads)
    given = cut(leaves, arrays)
    before = None if params is None else cut(leaves, matched("params", params, arrays))
    change = None if updates is None else cut(leaves, matched("updates", updates, arrays))
    norms = measure.norms(given)
    columns = len(PARAMETER_QUANTITIES)
    rest = details(given, before, change) if full else jnp.full((len(given), columns), ABSENT, jnp.float32)
    head = jnp.full((1, 1 + columns), ABSENT, jnp.float32)
    if loss is not None:
        head = head.at[0, 0].set(jnp.mean(jnp.asarray(loss, jnp.float32)))
    return jnp.concatenate([head, jnp.concatenate([norms[:, None], rest], axis=1)])


def details(gradients: list[Any], before: list[Any] | None, updates: list[Any] | None) -> jax.Array:
    """PARAMETER_QUANTITIES of every leaf, shape (leaves, 8); NaN where they cannot be known."""
    rows = []
    for at, gradient in enumerate(gradients):
        found = jnp.full(5, ABSENT, jnp.float32)
        if before is not None:
            old = before[at]
            new = old if updates is None else (old + updates[at]).astype(old.dtype)
            found = measure.parameter_statistics(old, new).astype(jnp.float32)
            if updates is None:
                found = found.at[2:4].set(ABSENT)
        elif updates is not None:
            found = found.at[2].set(measure.norm(updates[at]).astype(jnp.float32))
        rows.append(jnp.concatenate([measure.gradient_statistics(gradient).astype(jnp.float32), found]))
    return jnp.stack(rows) if rows else jnp.zeros((0, len(PARAMETER_QUANTITIES)), jnp.float32)


def matched(what: str, tree: Any, given: list[Any]) -> list[Any]:
    """The leaves of a tree that must be those of the gradients. Raises UsageError."""
    found = jax.tree.leaves(tree)
    if [jnp.shape(x) for x in found] != [jnp.shape(g) for g in given]:
        raise UsageError(
            f"observe(): {what} has {len(found)} arrays and grads {len(given)}, or they differ in shape; expected "
            "trees of the same arrays (equinox: eqx.filter(model, eqx.is_inexact_array))"
        )
    return found


class Recording:
    """The rows that one scope got from record(), until they are written. What a Scope calls `watched`."""

    def __init__(self, scope: Scope, leaves: list[Leaf]):
        self.scope = scope
        history = scope.new_history("observed", framework="jax", optimizer="optimizer")
        self.objective = Objective(Made("observed"), history)
        self.objective.survey(leaves, [], [None] * len(leaves))
        self.waiting: list[Any] = []
        self.step = 0

    def add(self, array: Any) -> None:
        """Takes the statistics of the next step."""
        self.waiting.append(array)
        if len(self.waiting) >= WAITING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        arrays, self.waiting = jax.device_get(self.waiting), []
        write(self.objective.history, [self._row(np.asarray(a, "f8")) for a in arrays])

    def _row(self, cells: Any) -> Row:
        known = np.where(cells < ABSENT / 2, np.nan, cells)
        norms, loss = known[1:, 0], float(cells[0, 0])
        row = Row(self.step, len(norms), list(range(len(norms))), [], norms)
        row.parameters = None if (cells[1:, 1] < ABSENT / 2).all() else known[1:, 1:]
        row.losses = [] if loss < ABSENT / 2 else [(loss, None)]
        row.values = {"skipped": 0.0, "backward_passes": 1.0, "carried_over": 0.0}
        self.step += 1
        return row

    refresh = flush
    close = flush


def record(scope: Scope, statistics: jax.Array, tree: Any, *, stacked: str | Sequence[str] = ()) -> None:
    """Takes what observe() returned, once a step; waits for nothing until 64 steps are there or a report is asked for.

    tree: the parameters or gradients, for their names; arrays or jax.ShapeDtypeStruct. stacked: as for observe().
    Raises UsageError when tree and statistics do not belong together.
    """
    if not isinstance(scope, Scope):
        raise UsageError(f"record(): expected a gradscope.Scope first, got {type(scope).__name__}")
    if isinstance(statistics, jax.core.Tracer):
        raise UsageError("record(): called inside jit; return what observe() gives, and call record() outside")
    recording = scope.watched
    if recording is None:
        recording = scope.watched = Recording(scope, leaves_of(tree, stacked_in(tree, stacked)))
    if not isinstance(recording, Recording):
        raise UsageError(
            "record(): this scope watches something else; expected one of its own, scope = gradscope.watch()"
        )
    expected = (1 + len(recording.objective.leaves), len(COLUMNS))
    if tuple(getattr(statistics, "shape", ())) != expected:
        raise UsageError(
            f"record(): expected what observe() returns for this tree, shape {expected}, got "
            f"{tuple(getattr(statistics, 'shape', ()))}; was `stacked` given to both?"
        )
    recording.add(statistics)
