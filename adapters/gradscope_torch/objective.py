"""Objective: one optimizer, its parameters, and what is written into its History at each of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from gradscope.history import History, Subject, Table
from gradscope.row import Note, Row, write
from torch import Tensor

from gradscope_torch import measure
from gradscope_torch.names import Names

SNAPSHOT_LIMIT = 512 * 2**20
"""Bytes of weights that are copied to measure an update; parameters beyond it are not measured."""
SMALLEST = 1e-18
"""Norms below it may have lost squares to underflow in float32, and are found anew."""
WAITING_ROWS = 16
"""Rows that may wait before they are written together."""


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
        self.between = Between()
        self.skipped = False
        self._probe: tuple[Tensor, Any, int] | None = None
        self._carried: Any = 0
        self._before: list[Tensor | None] = []
        self._direction: Tensor | None = None
        self._row: Row | None = None
        self._rows: list[Row] = []
        self._size = (-1, -1)

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
        self.plain = all(p.dtype in measure.DENSE_FLOATS for p in self.parameters)
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
                "fan_in": math.prod(p.shape[1:]),
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
        """At the beginning of a backward pass: what is left of the gradients of the last step?"""
        if self._probe is None or isinstance(self._carried, Tensor) or not self._carried:
            return
        parameter, gradient, version = self._probe
        now = parameter.grad
        if now is None or now is not gradient:
            self._carried = 0
        elif now._version != version:
            left = now.count_nonzero() > 0
            self._carried = left if now.device.type != "cpu" else int(left)

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
        """Begins the row of this step with the gradient norm of every parameter."""
        present = [at for at, p in enumerate(self.parameters) if p.grad is not None]
        width = len(self.parameters)
        absent = set(range(width)).difference(present) if len(present) < width else ()
        frozen = [at for at in absent if not self.parameters[at].requires_grad]
        gradients = [self.parameters[at].grad for at in present]
        self._row = Row(self.step, width, present, frozen, self._norms(gradients))

    def _norms(self, gradients: list[Any]) -> Tensor | list[float]:
        if not gradients:
            return []
        try:
            norms = measure.norms(gradients, self.plain)
        except (RuntimeError, NotImplementedError, TypeError):
            self.plain = False
            norms = measure.norms(gradients, False)
        if isinstance(norms, Tensor) and norms.device.type != "cpu":
            return norms
        found = norms.tolist() if isinstance(norms, Tensor) else norms
        return [
            n if SMALLEST <= n < math.inf else float(measure.exact_norm(g))
            for n, g in zip(found, gradients, strict=True)
        ]

    def after_step(self, full: bool, direction: bool, notes: list[Note], classes: list[tuple[str, Tensor]]) -> None:
        """Completes the row: loss, rate, and on full steps updates, gradients in detail, and notes."""
        row, between = self._row, self.between
        if row is None:
            return
        row.losses = between.losses
        row.values = {
            "learning_rate": learning_rate_of(self.optimizer),
            "skipped": self.skipped,
            "carried_over": self._carried if self.step and between.passes and self._probe else None,
            "cleared_early": self._cleared_early(),
            "backward_passes": between.passes,
        }
        if between.clip is not None:
            row.values["clip_before"], row.values["clip_limit"] = between.clip
        if between.scale is not None:
            row.values["loss_scale"] = between.scale
        if full:
            row.parameters = self._parameter_statistics()
            row.notes, row.classes = list(notes), list(classes)
        if direction:
            row.values["gradient_cosine"] = self._cosine()
        else:
            self._direction = None
        self._rows.append(row)
        self._row = None
        self.between = Between()
        self.skipped = False
        self.step += 1
        if full or len(self._rows) >= WAITING_ROWS:
            self.flush()
        self._look_at_probe()

    def flush(self) -> None:
        """Writes the rows that wait."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        write(self.history, rows, measure.fetch)
        if self._probe is None:
            self._choose_probe(rows[-1])

    def _choose_probe(self, row: Row) -> None:
        """Picks the smallest parameter that gets a gradient, to see whether gradients are cleared between steps."""
        norms = self.history["gradient"].column("gradient_norm")[-1]
        moving = [self.parameters[at] for at in row.present if norms[at] > 0 and self.optimized[at]]
        if moving:
            self._probe = (min(moving, key=Tensor.numel), None, 0)

    def _look_at_probe(self) -> None:
        if self._probe is None:
            return
        parameter = self._probe[0]
        gradient = parameter.grad
        self._probe = (parameter, gradient, gradient._version if gradient is not None else 0)
        self._carried = int(gradient is not None)

    def _cleared_early(self) -> bool | None:
        """Whether gradients were delivered and are gone now; None at the first step, whose delivery nobody saw."""
        if not self.step:
            return None
        return self.between.delivered and not any(p.grad is not None for p in self.parameters)

    def _parameter_statistics(self) -> Tensor | None:
        """PARAMETER_QUANTITIES, shape (parameters, 8)."""
        rows: list[Tensor] = []
        nothing = torch.full((3,), math.nan)
        unseen = torch.full((5,), math.nan)
        before = self._before or [None] * len(self.parameters)
        for p, old in zip(self.parameters, before, strict=True):
            gradient = measure.gradient_statistics(p.grad) if p.grad is not None else nothing.to(p.device)
            moved = measure.parameter_statistics(old, p) if old is not None else unseen.to(p.device)
            rows.append(torch.cat([gradient, moved]))
        self._before = []
        return torch.stack([r.to(rows[0].device) for r in rows]) if rows else None

    def _cosine(self) -> Tensor | None:
        """Cosine of the angle between the gradients of this step and the last, on a sample of their elements."""
        gradients = [
            p.grad for p, mine in zip(self.parameters, self.optimized, strict=True) if mine and p.grad is not None
        ]
        last, self._direction = self._direction, measure.sample(gradients) if gradients else None
        if last is None or self._direction is None or last.shape != self._direction.shape:
            return None
        return torch.nn.functional.cosine_similarity(last, self._direction, dim=0, eps=0.0)


def learning_rate_of(optimizer: torch.optim.Optimizer) -> Any:
    """The largest learning rate of an optimizer's groups, a number or a tensor; None when they have none."""
    rates = [g["lr"] for g in optimizer.param_groups if "lr" in g]
    if any(isinstance(r, Tensor) for r in rates):
        return torch.stack([torch.as_tensor(r).detach().reshape(()) for r in rates]).max()
    return max(rates, default=None)


def name_columns(table: Table, subjects: list[Subject]) -> None:
    """Gives the columns of a table their subjects, also where names have changed places."""
    changed = [at for at, s in enumerate(table.subjects) if s.name != subjects[at].name]
    for at in changed:
        table.rename(at, replace(subjects[at], name=f"{subjects[at].name} #{at}"))
    for at in changed:
        table.rename(at, subjects[at])
    for subject in subjects:
        table.add(subject)
