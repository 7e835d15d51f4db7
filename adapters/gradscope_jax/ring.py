"""The ring of rows that an optimizer's state carries, and the host's side of it: names, and what was written."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from gradscope import statistics
from gradscope.errors import UsageError
from gradscope.guard import guarded
from gradscope.row import PARAMETER_QUANTITIES, Row, write
from gradscope.scope import Scope

from gradscope_jax import measure
from gradscope_jax.made import Made
from gradscope_jax.names import Leaf
from gradscope_jax.objective import Objective

ROWS = 64
"""Steps that the ring holds."""
HEAD = 3
"""Columns of a row before its norms: the number of the step, the loss, the rate."""
ABSENT = -3e38
"""Stands for a number that nobody gave; no NaN does, as that may be one, and jax_debug_nans would stop at it."""
UNREAD = "they are in the optimizer's state until gradscope_jax.read(scope, opt_state) fetches them"


class WatchState(NamedTuple):
    """What the state of an optimizer carries.

    count: steps taken, int32. rows: the ring, float32 of shape (64, 3 + leaves). samples: entries of the gradients and
    of the parameters before the last step, and the same of the step before it, of shape (4, entries). known: for how
    many steps in a row the parameters were seen, int32. number: which of its scope's transformations it belongs to,
    int32. inner: the state of the wrapped optimizer.
    """

    count: Any
    rows: Any
    samples: Any
    known: Any
    number: Any
    inner: Any


class Track:
    """The host's side of one state."""

    def __init__(self, scope: Scope, made: Made, leaves: list[Leaf]):
        self.scope = scope
        self.made = made
        self.leaves = leaves
        self.objective: Objective | None = None
        self.written = -1
        self.lost = 0
        self.losses: dict[int, float] = {}
        self.logged = 0
        self.receive = guarded("jax rows", scope.failures, self._receive)

    def _survey(self) -> Objective:
        """The objective, which comes into being with its first row."""
        if self.objective is None:
            kind = self.made.kind
            name = f"{kind} {len(self.scope.histories) + 1}"
            history = self.scope.new_history(name, framework="jax", optimizer=kind, settings=self.made.settings())
            self.objective = Objective(self.made, history)
            self.objective.survey(self.leaves, [], [None] * len(self.leaves))
        return self.objective

    def _receive(self, rows: Any, samples: Any, known: Any) -> None:
        """Writes the rows that came since the last time."""
        fresh = sorted((r for r in np.asarray(rows, "f8") if r[0] > self.written), key=lambda r: r[0])
        if not fresh:
            return
        objective = self._survey()
        rates = self.made.rates([int(r[0]) for r in fresh])
        found = [self._row(cells, rate) for cells, rate in zip(fresh, rates, strict=True)]
        lost = found[0].step - self.written - 1
        if lost > 0:
            self.lost += lost
            told = f"{self.lost} steps were overwritten before read() came: it sees the last {ROWS}"
            self.scope.limits["gaps"] = told
        self.written = found[-1].step
        seen = int(known) > 1
        columns = dict(zip(PARAMETER_QUANTITIES, self._details(np.asarray(samples)).T, strict=True)) if seen else {}
        if seen and self.made.freezes:
            still = columns["moved_fraction"] == 0
            for row in found if not still.all() else ():
                objective.hold(row, set(np.flatnonzero(still).tolist()))
        write(objective.history, found)
        if seen:
            objective.history["parameter"].record(self.written - 1, columns)

    def _row(self, cells: Any, made: float) -> Row:
        """The row of some cells. made: the learning rate, where the state does not hold it."""
        step, norms = int(cells[0]), cells[HEAD:]
        row = Row(step, len(norms), list(range(len(norms))), [], norms)
        loss, rate = float(cells[1]), float(cells[2])
        if step in self.losses:
            row.losses = [(self.losses.pop(step), None)]
        elif loss > ABSENT / 2 or math.isnan(loss):
            row.losses = [(loss, None)]
        row.values = {"learning_rate": made if rate < 0 else rate}
        row.values |= {"skipped": 0.0, "backward_passes": 1.0, "carried_over": 0.0}
        limit = self.made.clip_limit()
        if limit is not None:
            row.values |= {"clip_before": math.hypot(*norms.tolist()), "clip_limit": limit}
        return row

    def _details(self, samples: Any) -> Any:
        """PARAMETER_QUANTITIES of every leaf at the last step but one, from some entries of the larger ones."""
        ends = np.cumsum([measure.sampled_size(math.prod(leaf.shape)) for leaf in self.leaves])
        rows = []
        parts = zip(*(np.split(s, ends[:-1]) for s in samples), strict=True)
        for leaf, (_, after, gradient, before) in zip(self.leaves, parts, strict=True):
            scale = math.prod(leaf.shape) / max(1, gradient.size)
            change, moved = statistics.parameter_change(before, after)
            rows.append(
                [
                    statistics.zero_fraction(gradient),
                    statistics.abs_max(gradient),
                    statistics.underflow_fraction(gradient.astype(leaf.dtype)),
                    statistics.l2_norm(before) * math.sqrt(scale),
                    statistics.deviation(before),
                    change * math.sqrt(scale),
                    moved,
                    statistics.nonfinite_count(after) * scale,
                ]
            )
        return np.array(rows)

    def log(self, value: float) -> None:
        """Takes the loss of a step whose row may still be on the device: one call a step."""
        if self.logged > self.written:
            self.losses[self.logged] = value
            self.losses.pop(self.logged - ROWS, None)
        elif self.objective is not None:
            bad = float(not math.isfinite(value))
            loss = {"loss": {"run": value}, "loss_nonfinite": {"run": bad}}
            self.objective.history["step"].record(self.logged, loss)
        self.logged += 1


class Tracks:
    """All states of one scope. What a Scope calls `watched`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.all: list[Track] = []

    def add(self, made: Made, leaves: list[Leaf]) -> int:
        """A track for one more state; gives its number."""
        self.all.append(Track(self.scope, made, leaves))
        self.scope.limits["steps"] = UNREAD
        return len(self.all) - 1

    def log(self, value: float) -> bool:
        """Takes a loss for the steps of the one optimizer. Raises UsageError when there are several."""
        if len(self.all) > 1:
            raise UsageError(
                "log(): several optimizers are watched, and nobody knows whose loss this is; expected "
                "tx.update(grads, state, params, value=loss) of each"
            )
        for track in self.all:
            track.log(value)
        return bool(self.all)

    def told(self) -> None:
        """Takes back that steps are unread, once none of the optimizers has nothing but such."""
        if all(t.written >= 0 for t in self.all):
            self.scope.limits.pop("steps", None)

    def flush(self) -> None:
        """What waits is in the optimizer's state, and read() fetches it."""

    refresh = flush
    close = flush
