"""Objective: one Trainer, its parameters, and what is written into its History at each of its steps."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from gradscope.history import History, Subject
from gradscope.parameters import name_parameters, parameter
from gradscope.row import Note, Row, write
from mxnet import nd

from gradscope_mxnet import measure
from gradscope_mxnet.names import Names

SNAPSHOT_LIMIT = 512 * 2**20
"""Bytes of weights that are copied to measure an update; parameters beyond it are not measured."""
WAITING_ROWS = 16
"""Rows that may wait before they are written together."""


class Objective:
    """The recorder of one Trainer's steps."""

    def __init__(self, trainer: Any, history: History, names: Names):
        self.trainer = trainer
        self.history = history
        self.names = names
        self.step = 0
        self.parameters: list[Any] = []
        self.own = [p for p in trainer._params if is_trained(p)]
        self._row: Row | None = None
        self._rows: list[Row] = []
        self._gradients: dict[int, Any] = {}
        self._sound: set[int] = set()
        self._before: dict[int, Any] = {}
        self._direction: Any = None
        self._carried: Any = 0

    # -- subjects --------------------------------------------------------------------------------------------------

    @property
    def outdated(self) -> bool:
        """Whether parameters have got their shape since the last survey."""
        known = {id(p) for p in self.parameters}
        return any(id(p) not in known and p._data is not None for p in self.own)

    def survey(self, elsewhere: set[int]) -> None:
        """Finds the parameters: the trainer's own, and those of the known blocks that no trainer holds. One that has
        no shape yet comes in when it has."""
        mine = {id(p) for p in self.own}
        free = [p for p in self.names.all_parameters() if p.grad_req != "null" and id(p) not in mine | elsewhere]
        known = {id(p) for p in self.parameters}
        for p in sorted([*self.own, *free], key=self.names.place):
            if id(p) not in known and p._data is not None:
                known.add(id(p))
                self.parameters.append(p)
        subjects = [self._subject(p, id(p) in mine, id(p) in elsewhere) for p in self.parameters]
        name_parameters(self.history, subjects)

    def _subject(self, p: Any, optimized: bool, elsewhere: bool) -> Subject:
        name, module = self.names.parameter(p)
        owner = self.names.owner(p)
        return parameter(
            name,
            module,
            shape=p.shape,
            fan_in=math.prod(p.shape[1:]),
            dtype=measure.type_name(p._data[0]),
            optimized=optimized,
            elsewhere=elsewhere,
            trainable=p.grad_req != "null" and p.lr_mult != 0,
            owner=owner,
            source=self.names.source(owner) if owner is not None else None,
            reachable=owner is not None or not self.names.roots,
        )

    # -- passes ----------------------------------------------------------------------------------------------------

    def reached(self) -> bool:
        """Whether a backward pass has left a gradient since the last step, or ever where a kvstore updates."""
        return any(is_fresh(p) for p in self.own)

    def first_pass_begins(self) -> None:
        """The first backward pass after a step: is a gradient left that it will add to? Only grad_req 'add' adds."""
        adding = [p for p in self.own if p.grad_req == "add" and p._grad is not None]
        self._carried = 0
        if self.step and adding:
            probe = min(adding, key=lambda p: math.prod(p.shape))
            self._carried = (measure.wide(probe._grad[0]) != 0).max()

    # -- a step ----------------------------------------------------------------------------------------------------

    def present(self) -> list[Any]:
        """The gradients that the step will use."""
        return [g for p in self.own if is_fresh(p) for g in p._grad]

    def before_step(self, full: bool, on_kvstore: bool) -> None:
        """Weights are as they were, gradients are what the trainer will use, but for its rescale_grad."""
        width = len(self.parameters)
        present = [at for at, p in enumerate(self.parameters) if is_fresh(p)]
        frozen = [at for at, p in enumerate(self.parameters) if p.grad_req == "null"]
        gradients = [gradient_of(self.parameters[at], on_kvstore) for at in present]
        norms = [n * self.scale for n in measure.norms(gradients)]
        self._gradients = dict(zip(present, gradients, strict=True))
        self._sound = {at for at, norm in zip(present, norms, strict=True) if math.isfinite(norm)}
        self._row = Row(self.step, width, present, frozen, norms)
        self._row.values["clip_before"], self._row.values["clip_limit"] = self._own_clipping(gradients, norms)
        self._before = {}
        if full:
            self._snapshot()

    @property
    def scale(self) -> float:
        """What the optimizer multiplies gradients with: one over the size of the batch, and over the loss scale."""
        return abs(float(self.trainer._optimizer.rescale_grad))

    def _own_clipping(self, gradients: list[Any], norms: list[float]) -> tuple[float | None, float | None]:
        """(norm of all gradients, norm that the optimizer's clip_gradient leaves); None where it does not clip."""
        limit = self.trainer._optimizer.clip_gradient
        if limit is None or limit <= 0 or not self.scale:
            return None, None
        bound = float(limit) / self.scale
        left = measure.norms([nd.clip(measure.wide(g), -bound, bound) for g in gradients if not measure.is_empty(g)])
        return math.hypot(*norms), math.hypot(*left) * self.scale

    def _snapshot(self) -> None:
        budget = SNAPSHOT_LIMIT
        for at, p in enumerate(self.parameters):
            weight = p._data[0]
            budget -= math.prod(p.shape) * np.dtype(weight.dtype).itemsize
            if weight.stype == "default" and budget >= 0:
                self._before[at] = weight.copy()

    def after_step(
        self, full: bool, direction: bool, losses: list[Any], values: dict[str, Any], notes: list[Note], classes: Any
    ) -> None:
        """Completes the row: loss, rate, and on full steps updates, gradients in detail, and notes."""
        row, self._row = self._row, None
        if row is None:
            return
        row.losses = losses
        row.values |= {"learning_rate": self._learning_rate(), **values}
        row.values["carried_over"] = self._carried if self.step and values["backward_passes"] else None
        if full:
            row.parameters = self._parameter_statistics(row.width)
            row.notes, row.classes = list(notes), list(classes)
        last, self._direction = self._direction, None
        if direction:
            mine = {id(p) for p in self.own}
            self._direction = measure.sample(
                [g for at, g in self._gradients.items() if id(self.parameters[at]) in mine]
            )
            if last is not None and self._direction is not None and last.shape == self._direction.shape:
                row.values["gradient_cosine"] = measure.cosine(last, self._direction)
        self._gradients, self._before = {}, {}
        self._rows.append(row)
        self.step += 1
        if full or len(self._rows) >= WAITING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait."""
        rows, self._rows = self._rows, []
        if rows:
            write(self.history, rows, measure.fetch)

    def _learning_rate(self) -> float | None:
        """The rate of the step that was just taken. A schedule of the user's own is asked as a copy: it may count how
        often it is asked."""
        optimizer = self.trainer._optimizer
        schedule = optimizer.lr_scheduler
        if schedule is None or type(schedule).__module__.startswith("mxnet."):
            return float(optimizer.learning_rate)
        return float(copy.deepcopy(schedule)(optimizer.num_update))

    def _parameter_statistics(self, width: int) -> Any:
        """PARAMETER_QUANTITIES of the first parameters, shape (width * 8,): others may have come during the step."""
        rows = []
        for at, p in enumerate(self.parameters[:width]):
            weight, gradient, before = p._data[0], self._gradients.get(at), self._before.get(at)
            unknown = nd.full((5,), math.nan, ctx=weight.ctx, dtype="float64")
            if gradient is None:
                rows.append(unknown[:3])
            else:
                rows.append(measure.gradient_statistics(gradient, self.scale, at in self._sound))
            rows.append(unknown if before is None else measure.parameter_statistics(before, weight))
        return measure.joined(rows) if rows else None


def is_trained(parameter: Any) -> bool:
    """Whether a parameter is one that could be trained: running means and other states are none."""
    return bool(parameter.grad_req != "null" or parameter._differentiable)


def is_fresh(parameter: Any) -> bool:
    """Whether backward has given the parameter a gradient that no step has used."""
    if parameter.grad_req == "null" or parameter._grad is None:
        return False
    return any(d._fresh_grad for d in parameter._data)


def gradient_of(parameter: Any, on_kvstore: bool) -> Any:
    """The gradient: the sum over devices, which each of them holds, unless the kvstore is yet to add them up."""
    parts = parameter._grad
    if not on_kvstore or len(parts) == 1:
        return parts[0]
    return nd.add_n(*[g.as_nd_ndarray().as_in_context(parts[0].ctx) for g in parts])
