"""The ring of rows that an optimizer's state carries, and the host's side of it: names, and what was written."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import jax
import numpy as np
from gradscope.guard import guarded
from gradscope.row import Row, write
from gradscope.scope import Scope

from gradscope_jax.made import Made
from gradscope_jax.names import Leaf
from gradscope_jax.objective import Objective

ROWS = 64
"""Steps that the ring holds."""
HEAD = 3
"""Columns of a row before its norms: the number of the step, the loss, the rate."""


class WatchState(NamedTuple):
    """count: steps taken, int32. rows: the ring, float32 of shape (64, 3 + leaves). inner: of the wrapped optimizer."""

    count: Any
    rows: Any
    inner: Any


class Track:
    """The host's side of one transformation: names, and what was written already."""

    def __init__(self, scope: Scope, made: Made):
        self.scope = scope
        self.made = made
        self.objective: Objective | None = None
        self.written = -1
        self.losses: dict[int, float] = {}
        self.logged = 0
        self._lock = threading.Lock()
        self.receive = guarded("jax rows", scope.failures, self._receive)

    def survey(self, leaves: list[Leaf]) -> None:
        """Names the parameters."""
        if self.objective is None:
            kind = self.made.kind
            name = f"{kind} {len(self.scope.histories) + 1}"
            history = self.scope.new_history(name, framework="jax", optimizer=kind, settings=self.made.settings())
            self.objective = Objective(self.made, history)
            self.objective.survey(leaves, [], [None] * len(leaves))

    def _receive(self, rows: Any, step: Any = None, full: Any = None) -> None:
        """Writes the rows that came since the last time; full: PARAMETER_QUANTITIES of the step of that number."""
        with self._lock:
            if self.objective is None:
                return
            cells = np.asarray(rows, "f8")
            fresh = sorted((r for r in cells if r[0] > self.written), key=lambda r: r[0])
            found = [self._row(r) for r in fresh]
            for row in found:
                if step is not None and row.step == int(step):
                    row.parameters = np.asarray(full, "f8")
            self.written = max([self.written, *(r.step for r in found)])
            write(self.objective.history, found)

    def _row(self, cells: Any) -> Row:
        step, norms = int(cells[0]), cells[HEAD:]
        row = Row(step, len(norms), list(range(len(norms))), [], norms)
        loss = self.losses.pop(step, float(cells[1]))
        row.losses = [] if math.isnan(loss) and not np.isnan(norms).any() else [(loss, None)]
        rate = float(cells[2])
        row.values = {"learning_rate": self.made.rate(step, None) if math.isnan(rate) else rate}
        row.values |= {"skipped": 0.0, "backward_passes": 1.0}
        limit = self.made.clip_limit()
        if limit is not None:
            row.values |= {"clip_before": math.hypot(*norms.tolist()), "clip_limit": limit}
        return row

    def log(self, value: float) -> bool:
        """Takes the loss of a step whose row may still be on the device: one call a step."""
        with self._lock:
            if self.logged > self.written:
                self.losses[self.logged] = value
            elif self.objective is not None:
                bad = float(not math.isfinite(value))
                self.objective.history["step"].record(
                    self.logged, {"loss": {"run": value}, "loss_nonfinite": {"run": bad}}
                )
            self.logged += 1
        return True


class Tracks:
    """All transformations of one scope. What a Scope calls `watched`."""

    def __init__(self) -> None:
        self.all: list[Track] = []

    def log(self, value: float) -> bool:
        """Takes a loss for the steps of all."""
        return [t.log(value) for t in self.all] != []

    def flush(self) -> None:
        """Waits for what is on its way from the device."""
        jax.effects_barrier()

    refresh = flush
    close = flush
