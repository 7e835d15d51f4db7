"""The ring of rows that an optimizer's state carries, and the host's side of it: names, and what was written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from gradscope import statistics
from gradscope.guard import guarded
from gradscope.row import Row, write
from gradscope.scope import Scope

from gradscope_jax import measure
from gradscope_jax.made import Made
from gradscope_jax.names import Leaf
from gradscope_jax.objective import Objective

ROWS = 64
"""Steps that the ring holds."""
HEAD = 3
"""Columns of a row before its norms: the number of the step, the loss, the rate."""
UNREAD = "they are in the optimizer's state until gradscope_jax.read(scope, opt_state) fetches them"


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class WatchState:
    """What the state of an optimizer carries.

    count: steps taken, int32. rows: the ring, float32 of shape (64, 3 + leaves). samples: entries of the gradients and
    of the parameters before the last step, and the same of the step before it, float32 of shape (4, entries). inner:
    the state of the wrapped optimizer. number: which of its scope's transformations it belongs to.
    """

    count: Any
    rows: Any
    samples: Any
    inner: Any
    number: int = field(metadata={"static": True})


class Track:
    """The host's side of one transformation."""

    def __init__(self, scope: Scope, made: Made):
        self.scope = scope
        self.made = made
        self.objective: Objective | None = None
        self.written = -1
        self.losses: dict[int, float] = {}
        self.logged = 0
        self.receive = guarded("jax rows", scope.failures, self._receive)
        scope.limits["steps"] = UNREAD

    def survey(self, leaves: list[Leaf]) -> None:
        """Names the parameters."""
        if self.objective is None:
            kind = self.made.kind
            name = f"{kind} {len(self.scope.histories) + 1}"
            history = self.scope.new_history(name, framework="jax", optimizer=kind, settings=self.made.settings())
            self.objective = Objective(self.made, history)
            self.objective.survey(leaves, [], [None] * len(leaves))

    def _receive(self, rows: Any, samples: Any) -> None:
        """Writes the rows that came since the last time."""
        fresh = sorted((r for r in np.asarray(rows, "f8") if r[0] > self.written), key=lambda r: r[0])
        if self.objective is None or not fresh:
            return
        found = [self._row(r) for r in fresh]
        if len(found) > 1:
            found[-2].parameters = self._details(np.asarray(samples))
        self.written = found[-1].step
        self.scope.limits.pop("steps", None)
        write(self.objective.history, found)

    def _row(self, cells: Any) -> Row:
        step, norms = int(cells[0]), cells[HEAD:]
        row = Row(step, len(norms), list(range(len(norms))), [], norms)
        loss = self.losses.pop(step, float(cells[1]))
        row.losses = [] if math.isnan(loss) and not np.isnan(norms).any() else [(loss, None)]
        rate = float(cells[2])
        row.values = {"learning_rate": self.made.rate(step, None) if math.isnan(rate) else rate}
        row.values |= {"skipped": 0.0, "backward_passes": 1.0, "carried_over": 0.0}
        limit = self.made.clip_limit()
        if limit is not None:
            row.values |= {"clip_before": math.hypot(*norms.tolist()), "clip_limit": limit}
        return row

    def _details(self, samples: Any) -> Any:
        """PARAMETER_QUANTITIES of every leaf at the last step but one, from some entries of the larger ones."""
        leaves = self.objective.leaves if self.objective is not None else []
        ends = np.cumsum([measure.sampled_size(math.prod(leaf.shape)) for leaf in leaves])
        rows = []
        parts = zip(*(np.split(s, ends[:-1]) for s in samples), strict=True)
        for leaf, (_, after, gradient, before) in zip(leaves, parts, strict=True):
            scale = math.prod(leaf.shape) / max(1, gradient.size)
            change, moved = statistics.parameter_change(before, after)
            rows.append(
                [
                    statistics.zero_fraction(gradient),
                    statistics.abs_max(gradient),
                    statistics.underflow_fraction(gradient),
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
    """All transformations of one scope. What a Scope calls `watched`."""

    def __init__(self) -> None:
        self.all: list[Track] = []

    def log(self, value: float) -> bool:
        """Takes a loss for the steps of all."""
        for track in self.all:
            track.log(value)
        return bool(self.all)

    def flush(self) -> None:
        """What waits is in the optimizer's state, and read() fetches it."""

    refresh = flush
    close = flush
