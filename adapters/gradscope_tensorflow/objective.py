"""Objective: one optimizer, its variables, and what is written into its History at each of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from gradscope import statistics
from gradscope.history import History, Subject
from gradscope.overwritten import FACT, Overwritten
from gradscope.parameters import name_parameters, parameter
from gradscope.row import Note, Row, write

from gradscope_tensorflow.arrays import fetched, host
from gradscope_tensorflow.names import Names

SNAPSHOT_LIMIT = 512 * 2**20
"""Bytes of weights that are copied to measure an update; variables beyond it are not measured."""
MOST_WAITING = 32
"""Rows that are kept, with what they hold on an accelerator, before they are written together."""


class Objective:
    """The recorder of one optimizer's steps."""

    def __init__(self, optimizer: Any, history: History, names: Names):
        self.optimizer = optimizer
        self.history = history
        self.names = names
        self.step = 0
        self.skipped = False
        self.parameters: list[Any] = []
        self.optimized: set[int] = set()
        self.row: Row | None = None
        self._before: list[Any] = []
        self._gradients: list[Any] = []
        self._direction: Any = None
        self._waiting: list[Row] = []
        self._overwritten = Overwritten()
        self.consecutive = True
        """Whether every step is measured in full, so that gradients of neighbouring steps can be compared."""

    def survey(self, own: list[Any], elsewhere: set[int]) -> None:
        """Finds the variables: those that are stepped, and those of the known layers that no optimizer holds."""
        self.optimized |= {id(v) for v in own}
        known = {id(v) for v in self.parameters}
        free = [v for v in self.names.all_parameters() if id(v) not in elsewhere]
        for variable in [*own, *free]:
            if id(variable) not in known:
                known.add(id(variable))
                self.parameters.append(variable)
        pairs = enumerate(self.parameters)
        name_parameters(self.history, [self._subject(at, v, id(v) in elsewhere) for at, v in pairs])

    def _subject(self, at: int, variable: Any, elsewhere: bool) -> Subject:
        name, module = self.names.parameter(variable, getattr(variable, "name", "").partition(":")[0])
        owner = self.names.owner(variable)
        shape = tuple(int(n) for n in variable.shape)
        return parameter(
            name or f"variable {at}",
            module,
            shape=shape,
            fan_in=math.prod(shape[:-1]),
            dtype=keras.backend.standardize_dtype(variable.dtype),
            optimized=id(variable) in self.optimized,
            elsewhere=elsewhere,
            trainable=bool(getattr(variable, "trainable", True)),
            owner=owner,
            source=self.names.source(owner) if owner is not None else None,
            reachable=owner is not None or not isinstance(variable, keras.Variable) or not self.names.roots,
        )

    # -- a step ----------------------------------------------------------------------------------------------------

    def before_ordinary_step(self, gradients: dict[int, Any], norms: Callable[[list[Any]], Any]) -> None:
        """Before a step of which the norms of the gradients are wanted alone."""
        found = [gradients.get(id(v)) for v in self.parameters]
        present = [at for at, g in enumerate(found) if g is not None]
        self.row = Row(self.step, len(found), present, self._frozen(found), norms([g for g in found if g is not None]))
        self._before, self._gradients = [], []

    def _frozen(self, gradients: list[Any]) -> list[int]:
        """The columns of those that have no gradient and want none."""
        pairs = enumerate(zip(self.parameters, gradients, strict=True))
        return [at for at, (v, g) in pairs if g is None and not getattr(v, "trainable", True)]

    def before_step(self, gradients: dict[int, Any], scale: float | None = None) -> None:
        """Weights are as they were; gradients: what the optimizer will use, by the id of the variable. scale: what they
        are still multiplied by."""
        budget = SNAPSHOT_LIMIT
        self._before = []
        for variable in self.parameters:
            values = host(variable)
            budget -= values.nbytes
            self._before.append(values.copy() if budget >= 0 else None)
        for variable, values in self._free():
            self._overwritten.before(id(variable), values)
        found = [dense(gradients.get(id(v))) for v in self.parameters]
        self._gradients = [g if g is None or not scale else g / scale for g in found]
        present = [at for at, g in enumerate(self._gradients) if g is not None]
        norms = [statistics.l2_norm(self._gradients[at]) for at in present]
        self.row = Row(self.step, len(self.parameters), present, self._frozen(self._gradients), norms)

    def _free(self) -> list[tuple[Any, Any]]:
        """(variable, its values before the step) of those that are stepped and that no layer holds."""
        pairs = zip(self.parameters, self._before, strict=False)
        return [(v, b) for v, b in pairs if b is not None and id(v) in self.optimized and self.names.owner(v) is None]

    def give_weights(self, before: dict[int, Any]) -> None:
        """Tells the weights before a step that was seen too late, by the id of the variable."""
        self._before = [before.get(id(v)) for v in self.parameters]

    def after_step(
        self, losses: list[tuple[Any, Any]], scale: float | None, notes: list[Note], classes: list[tuple[str, Any]]
    ) -> None:
        """Writes the row: loss, rate, updates, gradients in detail, and notes."""
        row = self.row
        if row is None:
            return
        row.losses = losses
        row.values = {
            "learning_rate": learning_rate_of(self.optimizer),
            "skipped": self.skipped,
            "backward_passes": len(losses) or None,
            "loss_scale": scale,
            "carried_over": 0.0,  # gradients are results here, and nothing is added to what was there
        }
        row.notes, row.classes = list(notes), list(classes)
        if self._before:
            self._add_details(row)
            self._look_for_overwritten()
        self._waiting.append(row)
        if self._before or len(self._waiting) >= MOST_WAITING:
            self.flush()
        self.row, self._before, self._gradients = None, [], []
        self.skipped = False
        self.step += 1

    def _add_details(self, row: Row) -> None:
        direction = statistics.sample([g for g in self._gradients if g is not None])
        if self._direction is not None:
            row.values["gradient_cosine"] = statistics.cosine(self._direction, direction)
        row.values["clip_before"], row.values["clip_limit"] = clipping(self.optimizer, row.norms, self._gradients)
        self._direction = direction if self.consecutive else None
        row.parameters = np.array([self._statistics(at) for at in range(row.width)]).reshape(row.width, 8)

    def _look_for_overwritten(self) -> None:
        for variable, _ in self._free():
            self._overwritten.after(id(variable), host(variable))
        found, subjects = self._overwritten.found(), self.history["gradient"].subjects
        self.history.facts[FACT] = [s.name for s, v in zip(subjects, self.parameters, strict=True) if id(v) in found]

    def flush(self) -> None:
        """Writes the rows that wait."""
        waiting, self._waiting = self._waiting, []
        write(self.history, waiting, fetched)

    def _statistics(self, at: int) -> list[float]:
        gradient, before = self._gradients[at], self._before[at]
        found = [math.nan] * 3
        if gradient is not None:
            found = details(gradient, math.prod(self.parameters[at].shape))
        if before is None:
            return [*found, *[math.nan] * 5]
        after = host(self.parameters[at])
        change, moved = statistics.parameter_change(before, after)
        norm, deviation = statistics.l2_norm(before), statistics.deviation(before)
        return [*found, norm, deviation, change, moved, statistics.nonfinite_count(after)]


def clipping(optimizer: Any, norms: list[float], gradients: list[Any]) -> tuple[float | None, float | None]:
    """(norm of all gradients, norm that the optimizer's own clipping leaves of it); None where it does not clip."""
    before = math.hypot(*norms)
    if getattr(optimizer, "global_clipnorm", None):
        return before, float(optimizer.global_clipnorm)
    if getattr(optimizer, "clipnorm", None):
        return before, math.hypot(*(min(n, float(optimizer.clipnorm)) for n in norms))
    if getattr(optimizer, "clipvalue", None):
        limit = float(optimizer.clipvalue)
        return before, math.hypot(*(statistics.l2_norm(np.clip(g, -limit, limit)) for g in gradients if g is not None))
    return None, None


def details(values: Any, size: int) -> list[float]:
    """(share of zeros, largest finite magnitude, share under the smallest normal number) of what dense() gave; size:
    entries of the whole gradient, of which those in no row that occurs are zero."""
    share = values.size / size if size else 1.0
    zero, tiny = statistics.zero_fraction(values), statistics.underflow_fraction(values)
    return [zero if share == 1 else 1 - (1 - zero) * share, statistics.abs_max(values), tiny * share]


def dense(gradient: Any) -> Any:
    """A gradient as an array of the host: the values of an IndexedSlices, rows of the same index added up."""
    if gradient is None:
        return None
    if type(gradient).__name__ != "IndexedSlices":
        return host(gradient).copy()
    values, indices = np.asarray(gradient.values), np.asarray(gradient.indices)
    unique, places = np.unique(indices, return_inverse=True)
    summed = np.zeros((len(unique), *values.shape[1:]), values.dtype)
    np.add.at(summed, places, values)
    return summed


def learning_rate_of(optimizer: Any) -> float | None:
    """The rate of the next step; None when it has none."""
    rate = getattr(optimizer, "learning_rate", None)
    return None if rate is None else float(host(rate))
