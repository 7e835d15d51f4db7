"""Objective: one optimizer, its parameters, and what is written into its History at each of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from gradscope.history import MISSING, RUN, UNOBSERVED, History, Subject, Table
from torch import Tensor

from gradscope_torch import measure
from gradscope_torch.forward import Note
from gradscope_torch.names import Names

SNAPSHOT_LIMIT = 512 * 2**20
"""Bytes of weights that are copied to measure an update; parameters beyond it are not measured."""
SMALLEST = 1e-18
"""Norms below it may have lost squares to underflow in float32, and are found anew."""
PENDING_ROWS = 16
"""Rows of norms that may wait on an accelerator before they are fetched together."""


@dataclass(slots=True)
class Between:
    """What happened since the last step of an optimizer."""

    losses: list[Any] = field(default_factory=list)
    passes: int = 0
    delivered: bool = False
    clip: tuple[Any, Any] | None = None
    scale: Any = None


class Objective:
    """The recorder of one optimizer's steps."""

    def __init__(self, optimizer: torch.optim.Optimizer, history: History, names: Names):
        self.optimizer = optimizer
        self.history = history
        self.names = names
        self.step = 0
        self.parameters: list[Tensor] = []
        self.optimized: list[bool] = []
        self.plain = True
        self.host = True
        self.between = Between()
        self.cleared = True
        self._probe: tuple[Tensor, Any, int] | None = None
        self._before: list[Tensor | None] = []
        self._direction: Tensor | None = None
        self._pending: list[tuple[int, list[int], Tensor]] = []
        self._size = (-1, -1)
        self._present: list[int] = []
        self._split: measure.Split | None = None
        self.skipped = False

    # -- subjects --------------------------------------------------------------------------------------------------

    def survey(self, elsewhere: set[int]) -> None:
        """Finds the parameters: the optimizer's own, and those of the known modules that no optimizer holds."""
        own = [p for group in self.optimizer.param_groups for p in group["params"]]
        mine = {id(p) for p in own}
        free = [p for p in self.names.all_parameters() if id(p) not in mine and id(p) not in elsewhere]
        self._size = self._size_now()
        known = {id(p) for p in self.parameters}
        for p in [*own, *(p for p in free if p.requires_grad)]:
            if id(p) not in known:
                known.add(id(p))
                self.parameters.append(p)
        self.optimized = [id(p) in mine for p in self.parameters]
        self._split = None
        self.plain = all(p.dtype in measure.DENSE_FLOATS for p in self.parameters)
        self.host = all(p.device.type == "cpu" for p in self.parameters)
        self._name(elsewhere)

    def _name(self, elsewhere: set[int]) -> None:
        subjects: list[Subject] = []
        taken: set[str] = set()
        for at, (p, optimized) in enumerate(zip(self.parameters, self.optimized, strict=True)):
            name, module = self.names.parameter(p, f"parameter {at}")
            while name in taken:
                name += "'"
            taken.add(name)
            owner = self.names.owner(p)
            traits = {
                "optimized": optimized,
                "elsewhere": id(p) in elsewhere,
                "trainable": p.requires_grad,
                "shape": tuple(p.shape),
                "size": p.numel(),
                "matrix": p.dim() > 1,
                "module_type": type(owner).__name__ if owner is not None else "",
                "library": owner is not None and self.names.in_library(owner),
                "training": owner.training if owner is not None else True,
                "reachable": owner is not None or not self.names.roots,
            }
            source = self.names.source(owner) if owner is not None else None
            subjects.append(Subject(name, module, str(p.dtype).removeprefix("torch."), source, traits))
        for table in (self.history["gradient"], self.history["parameter"]):
            name_columns(table, subjects)

    @property
    def unknown(self) -> bool:
        """Whether parameters may have come since the last survey."""
        return self._size != self._size_now()

    def _size_now(self) -> tuple[int, int]:
        groups = self.optimizer.param_groups
        return len(groups), sum(len(g["params"]) for g in groups)

    # -- carried gradients -----------------------------------------------------------------------------------------

    def look_for_clearing(self) -> None:
        """At the beginning of a backward pass: were the gradients of the last step cleared?"""
        if self.cleared or self._probe is None:
            return
        parameter, gradient, version = self._probe
        now = parameter.grad
        if now is None or gradient is None or now is not gradient:
            self.cleared = True
        elif now._version != version:
            self.cleared = not bool(now.count_nonzero())
            if not self.cleared:
                self._probe = (parameter, gradient, now._version)

    def look_for_delivery(self) -> None:
        """At the end of a backward pass: did it leave a gradient on any parameter of this optimizer?"""
        if not self.between.delivered:
            self.between.delivered = any(
                p.grad is not None for p, mine in zip(self.parameters, self.optimized, strict=True) if mine
            )

    # -- a step ----------------------------------------------------------------------------------------------------

    def before_step(self, full: bool) -> None:
        """Weights are as they were, gradients are what the optimizer will use."""
        if full:
            self._snapshot()

    def _snapshot(self) -> None:
        budget = SNAPSHOT_LIMIT
        self._before = []
        for p in self.parameters:
            size = p.numel() * p.element_size()
            if p.is_sparse or size > budget:
                self._before.append(None)
                continue
            budget -= size
            self._before.append(measure.dense_values(p).clone())

    def gradients(self) -> None:
        """Writes the gradient norm of every parameter for this step, without waiting for an accelerator."""
        present = [at for at, p in enumerate(self.parameters) if p.grad is not None]
        gradients = [self.parameters[at].grad for at in present]
        if not gradients:
            self._write(self.step, present, np.empty(0))
            return
        if self.plain and self.host and (self._split is None or self._present != present):
            self._present, self._split = present, measure.split(gradients)
        try:
            norms = measure.norms(gradients, self.plain, self._split)
        except (RuntimeError, NotImplementedError, TypeError):
            self.plain = False
            norms = measure.norms(gradients, False)
        if not self.host:
            self._pending.append((self.step, present, norms.detach()))
            if len(self._pending) >= PENDING_ROWS:
                self.flush()
            return
        self._write(self.step, present, norms.numpy(), gradients)

    def _write(self, step: int, present: list[int], norms: Any, gradients: list[Any] | None = None) -> None:
        row = np.full(len(self.parameters), MISSING)
        if len(present) < len(row):
            for at in set(range(len(row))).difference(present):
                if not self.parameters[at].requires_grad:
                    row[at] = UNOBSERVED
        values = np.array(norms, dtype="f8")
        if gradients is not None:
            for at in np.flatnonzero(np.isinf(values) | (values < SMALLEST)).tolist():
                values[at] = float(measure.exact_norm(gradients[at]))
        row[present] = values
        if self._probe is None:
            moving = [at for at, value in zip(present, values, strict=True) if value > 0 and self.optimized[at]]
            if moving:
                self._probe = (self.parameters[min(moving, key=lambda at: self.parameters[at].numel())], None, 0)
        clipped = np.where(np.isfinite(row), np.clip(row, None, measure.LARGEST), row)
        self.history["gradient"].record(step, {"gradient_norm": clipped})

    def flush(self) -> None:
        """Fetches the rows that wait on an accelerator, in one transfer each."""
        pending, self._pending = self._pending, []
        for step, present, norms in pending:
            self._write(step, present, norms.cpu().numpy())

    def after_step(self, full: bool, direction: bool, notes: list[Note], classes: list[tuple[str, Tensor]]) -> None:
        """Writes the rest of the step: loss, rate, and on full steps updates, gradients in detail, and notes."""
        learning_rate = (
            max(float(g["lr"]) for g in self.optimizer.param_groups if "lr" in g)
            if any("lr" in g for g in self.optimizer.param_groups)
            else math.nan
        )
        between = self.between
        loss, nonfinite = loss_of(between)
        values = {
            "loss": loss,
            "loss_nonfinite": nonfinite,
            "learning_rate": learning_rate,
            "skipped": float(self.skipped),
            "carried_over": float(not self.cleared) if self.step and between.passes and self._probe else math.nan,
            "cleared_early": self._cleared_early(),
            "backward_passes": float(between.passes),
        }
        if between.clip is not None:
            values["clip_before"], values["clip_limit"] = (float(v) for v in between.clip)
        if between.scale is not None:
            values["loss_scale"] = float(between.scale)
        if full:
            self._write_full()
        if direction:
            values["gradient_cosine"] = self._cosine()
        else:
            self._direction = None
        self._write_notes(notes, classes, values)
        self.history["step"].record(self.step, {k: {RUN: v} for k, v in values.items()})
        self.between = Between()
        self.skipped = False
        self.cleared = False
        if self._probe is not None:
            parameter = self._probe[0]
            gradient = parameter.grad
            self._probe = (parameter, gradient, gradient._version if gradient is not None else 0)
            self.cleared = gradient is None
        self.step += 1

    def _cleared_early(self) -> float:
        """1 when gradients were delivered and are gone now; NaN at the first step, whose delivery nobody saw."""
        if not self.step:
            return math.nan
        return float(self.between.delivered and not any(p.grad is not None for p in self.parameters))

    def _write_full(self) -> None:
        table = self.history["parameter"]
        rows: list[Tensor] = []
        nothing = torch.full((4,), math.nan)
        unseen = torch.full((5,), math.nan)
        before = self._before or [None] * len(self.parameters)
        for p, old in zip(self.parameters, before, strict=True):
            gradient = measure.gradient_statistics(p.grad) if p.grad is not None else nothing.to(p.device)
            moved = measure.parameter_statistics(old, p) if old is not None else unseen.to(p.device)
            rows.append(torch.cat([gradient[:3], moved, gradient[3:]]))
        self._before = []
        if not rows:
            return
        numbers = torch.stack([r.to(rows[0].device) for r in rows]).cpu().numpy().T
        table.record(
            self.step,
            {
                "gradient_zero_fraction": numbers[0],
                "gradient_abs_max": numbers[1],
                "gradient_underflow_fraction": numbers[2],
                "parameter_norm": numbers[3],
                "parameter_deviation": numbers[4],
                "update_norm": numbers[5],
                "moved_fraction": numbers[6],
                "nonfinite": numbers[7],
            },
        )

    def _cosine(self) -> float:
        gradients = [
            p.grad for p, mine in zip(self.parameters, self.optimized, strict=True) if mine and p.grad is not None
        ]
        if not gradients:
            self._direction = None
            return math.nan
        now = measure.sample(gradients)
        last, self._direction = self._direction, now
        if last is None or last.shape != now.shape:
            return math.nan
        return float(torch.nn.functional.cosine_similarity(last, now, dim=0, eps=0.0))

    def _write_notes(self, notes: list[Note], classes: list[tuple[str, Tensor]], step_values: dict[str, float]) -> None:
        if not notes:
            return
        numbers = torch.cat([n.values.double().to(notes[0].values.device) for n in notes]).cpu().numpy()
        at = 0
        for note in notes:
            values = numbers[at : at + len(note.quantities)]
            at += len(note.quantities)
            table = self.history[note.table]
            column = table.index(note.subject)
            if column is None or (note.traits.get("operation") and not table.subjects[column].traits.get("operation")):
                table.add(Subject(note.subject, note.module, note.type, note.source, note.traits))
            table.record(self.step, {q: {note.subject: v} for q, v in zip(note.quantities, values, strict=True)})
            if note.table in {"loss", "input"} and "batch_size" in note.quantities:
                step_values["batch_size"] = float(values[note.quantities.index("batch_size")])
        for site, counts in classes:
            self.history.count_classes(site, counts.cpu().numpy())


def name_columns(table: Table, subjects: list[Subject]) -> None:
    """Gives the columns of a table their subjects, also where names have changed places."""
    changed = [at for at, s in enumerate(table.subjects) if s.name != subjects[at].name]
    for at in changed:
        table.rename(at, replace(subjects[at], name=f"{subjects[at].name} #{at}"))
    for at in changed:
        table.rename(at, subjects[at])
    for subject in subjects:
        table.add(subject)


def loss_of(between: Between) -> tuple[float, float]:
    """(mean of the losses of the backward passes of a step, unscaled; 1 when one of them is NaN or Inf, else 0).

    Both are NaN when no loss was seen, or when its scale had fallen to zero.
    """
    values = []
    for loss, scale in between.losses:
        value, factor = float(loss), 1.0 if scale is None else float(scale)
        if factor == 0 and value == 0:
            continue
        values.append(value / factor if factor else value)
    if not values:
        return math.nan, math.nan
    return sum(values) / len(values), float(not all(math.isfinite(v) for v in values))
