"""Row: what one optimizer step left behind. Its numbers stay where they arose, in whatever array the framework has,
until several rows are written together; so an ordinary step waits for no accelerator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.history import MISSING, RUN, UNOBSERVED, History, Subject

PARAMETER_QUANTITIES = (
    "gradient_zero_fraction",
    "gradient_abs_max",
    "gradient_underflow_fraction",
    "parameter_norm",
    "parameter_deviation",
    "update_norm",
    "moved_fraction",
    "nonfinite",
)


@dataclass(slots=True)
class Note:
    """Numbers of one subject of a table: a module, an activation, a loss call or an input.

    values: an array of shape (len(quantities),).
    """

    table: str
    subject: str
    quantities: tuple[str, ...]
    values: Any
    traits: dict[str, Any] = field(default_factory=dict)
    module: str = ""
    source: str | None = None
    type: str = ""


@dataclass(slots=True)
class Row:
    """One step. Arrays and numbers may be the framework's own."""

    step: int
    width: int
    """How many parameters were known."""
    present: list[int]
    """Columns of those that have a gradient."""
    frozen: list[int]
    """Columns of those that have none and want none."""
    norms: Any
    """L2 norms of the gradients, shape (len(present),)."""
    values: dict[str, Any] = field(default_factory=dict)
    """Quantities of the step itself."""
    losses: list[tuple[Any, Any]] = field(default_factory=list)
    """(loss, its scale or None) of each backward pass."""
    parameters: Any = None
    """On a step with full statistics: PARAMETER_QUANTITIES of every parameter, shape (width, 8)."""
    notes: list[Note] = field(default_factory=list)
    classes: list[tuple[str, Any]] = field(default_factory=list)

    def arrays(self) -> list[Any]:
        """Everything that holds numbers."""
        found = [self.norms, self.parameters, *self.values.values(), *(n.values for n in self.notes)]
        found += [counts for _, counts in self.classes]
        found += [number for loss in self.losses for number in loss]
        return [a for a in found if a is not None]


Fetched = dict[int, NDArray[Any]]
Fetch = Callable[[Sequence[Any]], Fetched]
"""Brings arrays to the host: flat float64 arrays by the id of what was given. What is there already may be left out."""


def nothing_to_fetch(_arrays: Sequence[Any]) -> Fetched:
    """Fetch of arrays that lie on the host."""
    return {}


def write(history: History, rows: Sequence[Row], fetch: Fetch = nothing_to_fetch) -> None:
    """Writes rows into a history, in their order."""
    fetched = fetch([a for row in rows for a in row.arrays()])
    for row in rows:
        _write_gradients(history, row, fetched)
        if row.parameters is not None:
            columns = flat(row.parameters, fetched).reshape(row.width, -1).T
            history["parameter"].record(row.step, dict(zip(PARAMETER_QUANTITIES, columns, strict=True)))
        values = {quantity: number(value, fetched) for quantity, value in row.values.items()}
        values["loss"], values["loss_nonfinite"] = loss_of([tuple(number(n, fetched) for n in o) for o in row.losses])
        size = _write_notes(history, row, fetched)
        if size is not None:
            values["batch_size"] = size
        history["step"].record(row.step, {quantity: {RUN: value} for quantity, value in values.items()})
    history.rows_written()


def flat(array: Any, fetched: Fetched) -> NDArray[Any]:
    """An array of the host, flat, float64."""
    found = fetched.get(id(array))
    return np.asarray(array, "f8").ravel() if found is None else found


def number(value: Any, fetched: Fetched) -> float:
    """A number, wherever it was; NaN for None."""
    return math.nan if value is None else float(flat(value, fetched)[0])


def _write_gradients(history: History, row: Row, fetched: Fetched) -> None:
    table = history["gradient"]
    cells = np.full(len(table.subjects), MISSING)
    cells[row.width :] = UNOBSERVED
    cells[row.frozen] = UNOBSERVED
    cells[row.present] = flat(row.norms, fetched)
    table.record(row.step, {"gradient_norm": cells})


def _write_notes(history: History, row: Row, fetched: Fetched) -> float | None:
    """Writes what the forward pass showed; gives the size of the batch, when that was seen."""
    batch_size = None
    for note in row.notes:
        values = dict(zip(note.quantities, flat(note.values, fetched).tolist(), strict=True))
        table = history[note.table]
        column = table.index(note.subject)
        if column is None or (note.traits.get("operation") and not table.subjects[column].traits.get("operation")):
            table.add(Subject(note.subject, note.module, note.type, note.source, note.traits))
        table.record(row.step, {quantity: {note.subject: value} for quantity, value in values.items()})
        if note.table in {"loss", "input"} and not math.isnan(values.get("batch_size", math.nan)):
            batch_size = values["batch_size"]
    for site, counts in row.classes:
        history.count_classes(site, flat(counts, fetched))
    return batch_size


def loss_of(losses: Sequence[tuple[float, ...]]) -> tuple[float, float]:
    """(mean of the losses, unscaled; 1 when one of them is NaN or Inf, else 0), from pairs (loss, scale or NaN).

    Both are NaN when no loss was seen, or when its scale had fallen to zero.
    """
    values = []
    for value, scale in losses:
        factor = 1.0 if math.isnan(scale) else scale
        if factor == 0 and value == 0:
            continue
        values.append(value / factor if factor else value)
    if not values:
        return math.nan, math.nan
    return sum(values) / len(values), float(not all(math.isfinite(v) for v in values))
