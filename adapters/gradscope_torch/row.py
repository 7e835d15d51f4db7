"""Row: what one optimizer step left behind. Its numbers stay where they arose until they are written, several steps at
a time, so that an accelerator is never waited for in an ordinary step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gradscope.history import MISSING, RUN, UNOBSERVED, History, Subject
from numpy.typing import NDArray
from torch import Tensor

from gradscope_torch import measure
from gradscope_torch.forward import Note

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
class Row:
    """One step. Where a number is meant, a tensor of no dimension will do."""

    step: int
    width: int
    """How many parameters were known."""
    present: list[int]
    """Columns of those that have a gradient."""
    frozen: list[int]
    """Columns of those that have none and want none."""
    norms: Sequence[float] | Tensor
    """L2 norms of the gradients, shape (len(present),)."""
    values: dict[str, Any] = field(default_factory=dict)
    """Quantities of the step itself."""
    losses: list[tuple[Any, Any]] = field(default_factory=list)
    """(loss, its scale or None) of each backward pass."""
    parameters: Tensor | None = None
    """On a step with full statistics: PARAMETER_QUANTITIES of every parameter, shape (width, 8)."""
    notes: list[Note] = field(default_factory=list)
    classes: list[tuple[str, Tensor]] = field(default_factory=list)

    def tensors(self) -> list[Tensor]:
        """What must be fetched."""
        found = [self.norms, self.parameters, *self.values.values(), *(n.values for n in self.notes)]
        found += [counts for _, counts in self.classes]
        found += [number for loss in self.losses for number in loss]
        return [t for t in found if isinstance(t, Tensor)]


Fetched = dict[int, NDArray[Any]]


def fetch(tensors: Sequence[Tensor]) -> Fetched:
    """The values of small tensors by id, each as a flat array of float64; one transfer for each device."""
    devices: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        devices.setdefault(tensor.device, []).append(tensor)
    found: Fetched = {}
    for device, held in devices.items():
        wide = torch.float32 if device.type == "mps" else torch.float64
        flat = torch.cat([t.detach().reshape(-1).to(wide) for t in held]).cpu().double().numpy()
        ends = np.cumsum([t.numel() for t in held])
        found |= {id(t): part for t, part in zip(held, np.split(flat, ends[:-1]), strict=True)}
    return found


def write(history: History, rows: Sequence[Row]) -> None:
    """Writes rows into a history, in their order."""
    fetched = fetch([t for row in rows for t in row.tensors()])
    for row in rows:
        _write_gradients(history, row, fetched)
        if row.parameters is not None:
            columns = fetched[id(row.parameters)].reshape(row.width, -1).T
            history["parameter"].record(row.step, dict(zip(PARAMETER_QUANTITIES, columns, strict=True)))
        values = {quantity: number(value, fetched) for quantity, value in row.values.items()}
        values["loss"], values["loss_nonfinite"] = loss_of([tuple(number(n, fetched) for n in o) for o in row.losses])
        size = _write_notes(history, row, fetched)
        if size is not None:
            values["batch_size"] = size
        history["step"].record(row.step, {quantity: {RUN: value} for quantity, value in values.items()})


def number(value: Any, fetched: Fetched) -> float:
    """A number, wherever it was; NaN for None."""
    if isinstance(value, Tensor):
        return float(fetched[id(value)][0])
    return math.nan if value is None else float(value)


def _write_gradients(history: History, row: Row, fetched: Fetched) -> None:
    table = history["gradient"]
    norms = fetched[id(row.norms)] if isinstance(row.norms, Tensor) else np.array(row.norms, dtype="f8")
    cells = np.full(len(table.subjects), MISSING)
    cells[row.width :] = UNOBSERVED
    cells[row.frozen] = UNOBSERVED
    cells[row.present] = np.where(np.isfinite(norms), np.minimum(norms, measure.LARGEST), norms)
    table.record(row.step, {"gradient_norm": cells})


def _write_notes(history: History, row: Row, fetched: Fetched) -> float | None:
    """Writes what the forward pass showed; gives the size of the batch, when that was seen."""
    batch_size = None
    for note in row.notes:
        values = dict(zip(note.quantities, fetched[id(note.values)].tolist(), strict=True))
        table = history[note.table]
        column = table.index(note.subject)
        if column is None or (note.traits.get("operation") and not table.subjects[column].traits.get("operation")):
            table.add(Subject(note.subject, note.module, note.type, note.source, note.traits))
        table.record(row.step, {quantity: {note.subject: value} for quantity, value in values.items()})
        if note.table in {"loss", "input"} and "batch_size" in values:
            batch_size = values["batch_size"]
    for site, counts in row.classes:
        history.count_classes(site, fetched[id(counts)])
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
