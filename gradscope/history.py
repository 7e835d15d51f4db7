"""The memory of a run: tables of numbers (step x subject) per quantity, bounded, and nothing else.

No array of the training is kept, only what was reduced from it. State lives here alone: rules read it, adapters fill
it. When a table reaches its share of the memory, every second row of its older three quarters goes, except rows that
hold a value which is not finite; so the first steps, the last steps and every accident stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MISSING = -1.0
"""Stands in a gradient norm for "no gradient": backward did not reach the parameter (None)."""
UNOBSERVED = -2.0
"""Stands in a gradient norm for "not looked at": the parameter was not known yet at that step."""

COUNTS = ("loss_nonfinite", "skipped", "withheld", "nonfinite", "output_nonfinite", "input_nonfinite")
"""Quantities above zero where something was not finite; their rows are not thinned out."""

DEFAULT_BUDGET = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody that a number is about: a parameter, a module, a loss call, an input.

    name: dotted name, unique in its table. module: the dotted name of the module it belongs to.
    source: "file:line" of the code that created it. traits: what does not change with the step
    (optimized, trainable, shape, type, operation ...).
    """

    name: str
    module: str = ""
    type: str = ""
    source: str | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)


class Table:
    """Rows are observed steps, columns are subjects, one layer per quantity.

    `fill` is what a cell holds that was never written: NaN, or UNOBSERVED for gradient norms, whose NaN means NaN.
    """

    def __init__(self, quantities: Iterable[str], *, fill: float = np.nan, dtype: str = "f4", budget: int = 2**23):
        self.quantities: tuple[str, ...] = tuple(quantities)
        self.subjects: list[Subject] = []
        self.fill = fill
        self.budget = budget
        self.dropped = 0
        self._dtype = np.dtype(dtype)
        self._index: dict[str, int] = {}
        self._layer = {q: i for i, q in enumerate(self.quantities)}
        self._rows = 0
        self._steps = np.empty(0, "i8")
        self._cells = np.empty((len(self.quantities), 0, 0), self._dtype)

    def __len__(self) -> int:
        return self._rows

    @property
    def steps(self) -> Array:
        """The observed steps, int64, ascending, shape (rows,)."""
        return self._steps[: self._rows]

    def column(self, quantity: str) -> Array:
        """All values of one quantity, shape (rows, subjects). A view: do not write to it."""
        return self._cells[self._layer[quantity], : self._rows, : len(self.subjects)]

    def series(self, quantity: str, subject: str) -> Array:
        """The values of one quantity of one subject, shape (rows,)."""
        return self.column(quantity)[:, self._index[subject]]

    def index(self, subject: str) -> int | None:
        """The column of a subject, or None."""
        return self._index.get(subject)

    def subject(self, name: str) -> Subject | None:
        """The subject of that name, or None."""
        at = self._index.get(name)
        return None if at is None else self.subjects[at]

    def add(self, subject: Subject) -> int:
        """The subject's column; a new one is added, a known one updated."""
        at = self._index.get(subject.name)
        if at is not None:
            self.subjects[at] = subject
            return at
        self._index[subject.name] = len(self.subjects)
        self.subjects.append(subject)
        self._reserve(self._rows, len(self.subjects))
        return self._index[subject.name]

    def rename(self, at: int, subject: Subject) -> None:
        """Gives the subject of a column its final name."""
        del self._index[self.subjects[at].name]
        self.subjects[at] = subject
        self._index[subject.name] = at

    def record(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes one step: quantity -> array over all subjects, or a mapping from subject to value.

        A second call for a step adds to its row; a step that was thinned out, or comes too late, is let go.
        """
        if not self._rows or step > self._steps[self._rows - 1]:
            self._reserve(self._rows + 1, len(self.subjects))
            self._steps[self._rows] = step
            self._rows += 1
        row = int(np.searchsorted(self.steps, step))
        if self._steps[row] != step:
            return
        for quantity, given in values.items():
            cells = self._cells[self._layer[quantity]]
            if isinstance(given, Mapping):
                for name, value in given.items():
                    cells[row, self._index[name]] = self._clipped(value)
            else:
                cells[row, : len(self.subjects)] = self._clipped(given)

    def _clipped(self, given: Any) -> Any:
        """The values with finite ones that the table's dtype cannot hold at its largest number."""
        if self._dtype == np.dtype("f8"):
            return given
        values, top = np.asarray(given, "f8"), float(np.finfo(self._dtype).max)
        return np.where(np.isfinite(values), np.clip(values, -top, top), values)

    def _reserve(self, rows: int, columns: int) -> None:
        have_rows, have_columns = self._cells.shape[1:]
        if rows <= have_rows and columns <= have_columns:
            return
        if rows > have_rows and self._bytes(max(rows, 64), columns) > self.budget and have_rows >= 64:
            self._thin()
            if self._rows < have_rows:
                return
        grown_rows = max(rows, 64, have_rows * 2 if rows > have_rows else have_rows)
        if self._bytes(grown_rows, columns) > self.budget:
            grown_rows = max(rows, 64, self.budget // max(1, self._bytes(1, columns)))
        grown_columns = have_columns if columns <= have_columns else max(columns, have_columns + have_columns // 2)
        cells = np.full((len(self.quantities), grown_rows, grown_columns), self.fill, self._dtype)
        cells[:, : self._rows, :have_columns] = self._cells[:, : self._rows]
        steps = np.empty(grown_rows, "i8")
        steps[: self._rows] = self._steps[: self._rows]
        self._cells, self._steps = cells, steps

    def _bytes(self, rows: int, columns: int) -> int:
        return rows * (len(self.quantities) * columns * self._dtype.itemsize + 8)

    def _accidents(self) -> Array:
        """A mask of the rows that hold, or count, something that is not finite."""
        cells = self._cells[:, : self._rows, : len(self.subjects)]
        if self.fill == UNOBSERVED:
            return np.asarray(~np.isfinite(cells).all(axis=(0, 2)))
        counts = [self._layer[q] for q in COUNTS if q in self._layer]
        return np.asarray((cells[counts] > 0).any(axis=(0, 2)))

    def _thin(self) -> None:
        old = self._rows * 3 // 4
        keep = np.ones(self._rows, bool)
        keep[1:old:2] = False
        accidents = self._accidents()
        keep |= accidents
        if keep.sum() > self._rows * 7 // 8:  # nearly everything is an accident: the first of them stays
            keep[1:old:2] = False
            keep[np.flatnonzero(accidents)[:1]] = True
        kept = int(keep.sum())
        self._cells[:, :kept] = self._cells[:, : self._rows][:, keep]
        self._cells[:, kept:] = self.fill
        self._steps[:kept] = self._steps[: self._rows][keep]
        self.dropped += self._rows - kept
        self._rows = kept


STEP = (
    "loss",
    "loss_nonfinite",
    "learning_rate",
    "clip_before",
    "clip_limit",
    "loss_scale",
    "skipped",
    "withheld",
    "carried_over",
    "cleared_early",
    "backward_passes",
    "batch_size",
    "gradient_cosine",
)
GRADIENT = ("gradient_norm",)
PARAMETER = (
    "gradient_zero_fraction",
    "gradient_abs_max",
    "gradient_underflow_fraction",
    "parameter_norm",
    "parameter_deviation",
    "update_norm",
    "moved_fraction",
    "nonfinite",
)
MODULE = (
    "order",
    "output_mean_square",
    "input_mean_square",
    "zero_fraction",
    "dead_fraction",
    "saturated_fraction",
    "batch_variation",
    "output_nonfinite",
    "input_nonfinite",
)
LOSS = (
    "value",
    "batch_size",
    "prediction_mean",
    "prediction_deviation",
    "prediction_min",
    "prediction_max",
    "prediction_squared_error",
    "target_mean",
    "target_deviation",
    "target_min",
    "target_max",
    "target_purity",
    "broadcast",
    "prediction_elements",
    "target_elements",
    "loss_elements",
    "margin",
)
INPUT = ("mean", "deviation", "abs_max", "feature_ratio", "largest_feature", "nonfinite", "batch_size")

TABLES: Mapping[str, tuple[str, ...]] = {
    "step": STEP,
    "gradient": GRADIENT,
    "parameter": PARAMETER,
    "module": MODULE,
    "loss": LOSS,
    "input": INPUT,
}
RUN = "run"
"""The one subject of the step table."""


class History:
    """All tables of one training objective (one optimizer), and the facts about it.

    facts: framework, optimizer, objective, competing (another optimizer has another loss), limits
    (quantity -> why it could not be observed) and whatever an adapter knows that is no number.
    """

    def __init__(self, *, budget: int = DEFAULT_BUDGET, **facts: Any):
        self.facts: dict[str, Any] = {"limits": {}, **facts}
        shares = {"step": 0.08, "gradient": 0.62, "parameter": 0.12, "module": 0.1, "loss": 0.05, "input": 0.03}
        self.tables: dict[str, Table] = {
            name: Table(
                quantities,
                fill=UNOBSERVED if name == "gradient" else np.nan,
                dtype="f8" if name in {"step", "loss", "input"} else "f4",
                budget=int(budget * shares[name]),
            )
            for name, quantities in TABLES.items()
        }
        self.tables["step"].add(Subject(RUN))
        self.classes: dict[str, Array] = {}
        self.readings: dict[str, tuple[Any, Any]] = {}
        self.on_rows: Callable[[History], None] | None = None

    def rows_written(self) -> None:
        """Rows were added: whoever wants to know is told."""
        if self.on_rows is not None:
            self.on_rows(self)

    def __getitem__(self, table: str) -> Table:
        return self.tables[table]

    @property
    def steps(self) -> int:
        """How many optimizer steps were observed (rows thinned out included)."""
        return len(self["step"]) + self["step"].dropped

    def run(self, quantity: str) -> Array:
        """A quantity of the whole run per observed step, shape (steps,)."""
        return self["step"].series(quantity, RUN)

    def run_at(self, quantity: str, table: str) -> Array:
        """A quantity of the whole run at the steps of a table, shape (rows of that table,); NaN where it is gone."""
        known, wanted = self["step"].steps, self[table].steps
        values = np.full(len(wanted), np.nan)
        if not len(known):
            return values
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        same = known[at] == wanted
        values[same] = self.run(quantity)[at[same]]
        return values

    def source_of(self, module: str | None) -> str | None:
        """file:line of the code that created a module, when known."""
        if module is None:
            return None
        for table in ("module", "loss", "input"):
            found = self[table].subject(module)
            if found is not None and found.source:
                return found.source
        return next((s.source for s in self["parameter"].subjects if s.module == module and s.source), None)

    def count_classes(self, site: str, counts: Array) -> None:
        """Adds the class counts of one batch to those of a loss call."""
        known = self.classes.get(site)
        if known is None or len(known) < len(counts):
            grown = np.zeros(len(counts))
            if known is not None:
                grown[: len(known)] = known
            self.classes[site] = known = grown
        known[: len(counts)] += counts
