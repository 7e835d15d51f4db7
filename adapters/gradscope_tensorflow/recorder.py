"""Recorder: hears of every gradient and every optimizer step, and sees to it that the right Objective is told."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from gradscope.competition import belongs, note_competition
from gradscope.guard import guarded
from gradscope.moving import note_unmoved
from gradscope.row import Note
from gradscope.schedule import Schedule, every_step
from gradscope.scope import Scope

from gradscope_tensorflow.arrays import host, is_float
from gradscope_tensorflow.forward import Forward
from gradscope_tensorflow.moving import Moving
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.objective import Objective, dense
from gradscope_tensorflow.origin import origin_of

STEPS = "keras optimizers"


class Recorder:
    """One observation: its objectives, its forward notes, and the events between steps."""

    def __init__(
        self,
        scope: Scope,
        names: Names,
        schedule: Schedule = every_step,
        norms: Callable[[list[Any]], Any] | None = None,
    ):
        """norms: the norms of a list of gradients, for the steps that are not on the schedule."""
        self.scope = scope
        self.names = names
        self.schedule = schedule
        self.norms = norms
        self.forward = Forward(names)
        self.forward.active = True
        self.moving = Moving()
        self.order: list[Objective] = []
        self.losses: list[tuple[Any, Any]] = []
        self.shared: list[tuple[Any, Any]] = []
        self.spent = False
        self.missed = 0
        self.operations: Any = None
        """Who hears of every operation, where a backend has it: see gradscope_tensorflow.operations."""
        self._scales: dict[int, tuple[Any, Any, float]] = {}
        self._scale: float | None = None
        self._variables: dict[int, set[int]] = {}
        self.enter = guarded("keras layers", scope.failures, self._enter)
        self.leave = guarded("keras layers", scope.failures, self.forward.leave)
        self.ran = guarded("keras moving statistics", scope.failures, self.moving.ran)
        self.differentiated = guarded("tf.GradientTape", scope.failures, self._differentiated)
        self.scaled = guarded("keras loss scaling", scope.failures, self._scaled)
        self._rename = guarded("keras names", scope.failures, self._renamed)
        self._begin = guarded(STEPS, scope.failures, self._begins)
        self._end = guarded(STEPS, scope.failures, self._ended)

    # -- forward and backward --------------------------------------------------------------------------------------

    def _enter(self, layer: Any, args: Any) -> None:
        if not self.forward.stack:
            if self.spent:
                self.forward.reset()
                self.spent = False
            if not self.names.known(layer):
                self.names.add_root(layer)
        self.forward.enter(layer, args)

    def _scaled(self, loss: Any, result: Any, scale: float) -> None:
        """A loss was multiplied: the result may have overflowed where the loss has not."""
        self._scales = {id(result): (weakref.ref(result), loss, scale)}

    def _differentiated(self, target: Any) -> None:
        """A tape gave the gradients of a loss."""
        if isinstance(target, list | tuple):
            target = target[0] if target else None
        if not is_float(target):
            return
        known = self._scales.get(id(target))
        if known is not None and known[0]() is target:
            _, target, self._scale = known
        self._scales = {}
        one = not target.shape and self.norms is not None
        self.losses.append((target.detach() if one else float(np.mean(host(target), dtype="f8")), None))

    # -- steps -----------------------------------------------------------------------------------------------------

    def step_begins(self, optimizer: Any, gradients: Any, variables: Any) -> None:
        """The optimizer's step begins. Of one that calls another the inner counts: it has the true gradients."""
        self._begin(optimizer, gradients, variables)

    def _begins(self, optimizer: Any, gradients: Any, variables: Any, scale: float | None = None) -> None:
        held = [*variables] if variables is not None else list(optimizer._trainable_variables)
        objective = self.objective(optimizer, held)
        scale = scale or getattr(optimizer, "loss_scale_factor", None)
        many = getattr(optimizer, "gradient_accumulation_steps", None)
        if many and optimizer.built:
            gradients = [
                g if g is None else dense(g) + kept for g, kept in zip(gradients, sums(optimizer, held), strict=False)
            ]
            scale = (scale or 1.0) * many
        found = {id(v): g for v, g in zip(held, gradients, strict=False)}
        if self.norms is None or scale is not None or self.schedule(objective.step):
            objective.before_step(found, scale)
        else:
            objective.before_ordinary_step(found, self.norms)

    def step_ended(self, optimizer: Any) -> None:
        """The optimizer's step returned."""
        self._end(optimizer)
        if STEPS in self.scope.failures:
            self.missed += 1
        self.scope.stepped(max((o.step for o in self.order), default=0) + self.missed)

    def skipped(self, optimizer: Any, gradients: Any, variables: Any, scale: float) -> None:
        """A scaler let a step go, for its gradients, still scaled, overflowed."""
        self._begin(optimizer, gradients, variables, scale)
        self.objective(optimizer, list(variables or optimizer._trainable_variables)).skipped = True
        self.step_ended(optimizer)

    def _ended(self, optimizer: Any) -> None:
        objective = next(o for o in self.order if o.optimizer is optimizer)
        fresh = bool(self.losses)
        if fresh:
            self.shared = self.losses
            note_competition(self.scope, objective)
        losses = self.shared
        if not losses:
            logged = self.scope.take_logged()
            losses = [(logged, None)] if logged is not None else []
        notes = [n for n in self.forward.notes if belongs(n, objective, self.order)]
        self._look_for_accident(objective, losses, notes)
        objective.after_step(losses, self._scale, notes, self.forward.classes if fresh else [])
        objective.history.facts["called"] = sorted(self.forward.called)
        self.losses = []
        self.spent = True
        if self.norms is not None:
            self.forward.reset()
            self.forward.active = any(self.schedule(o.step) for o in self.order)

    def _look_for_accident(self, objective: Objective, losses: list[tuple[Any, Any]], notes: list[Note]) -> None:
        """On the first step that is not finite: where that began."""
        row, facts = objective.row, objective.history.facts
        if row is None or "origin" in facts or self.norms is not None:
            return
        well = all(math.isfinite(float(loss)) for loss, _ in losses)
        if well and np.isfinite(np.asarray(row.norms, "f8")).all():
            if self.operations is not None:
                self.operations.went_well()
        elif not objective.skipped:
            found = self.operations.origin(row.step) if self.operations is not None else None
            if found is None and (notes or well):
                found = origin_of(objective.history, row.step, notes, row.norms, row.present)
            if found is not None:
                facts["origin"] = found

    def objective(self, optimizer: Any, variables: list[Any]) -> Objective:
        """The Objective of an optimizer."""
        found = next((o for o in self.order if o.optimizer is optimizer), None)
        if found is None:
            kind = type(optimizer).__name__
            history = self.scope.new_history(
                f"{kind} {len(self.order) + 1}", framework="tensorflow", optimizer=kind, settings=described(optimizer)
            )
            found = Objective(optimizer, history, self.names)
            found.consecutive = self.norms is None
            self.order.append(found)
        held = {id(v) for v in variables}
        if not held <= self._variables.get(id(optimizer), set()) or not found.step:
            self._variables[id(optimizer)] = self._variables.get(id(optimizer), set()) | held
            self.names.refresh()
            self._survey(found, variables)
        return found

    def _survey(self, objective: Objective, variables: list[Any]) -> None:
        for one in self.order:
            others = {i for o in self.order if o is not one for i in self._variables.get(id(o.optimizer), set())}
            one.survey(variables if one is objective else [], others)

    def flush(self) -> None:
        """Writes the rows that wait."""
        for one in self.order:
            one.flush()

    def refresh(self) -> None:
        """Writes the rows that wait, and gives everything its final name."""
        self.flush()
        self._rename()

    def close(self) -> None:
        """Forgets the tensors of the last step, and gives everything its final name."""
        self.forward.reset()
        self.refresh()

    def _renamed(self) -> None:
        self.names.refresh()
        for one in self.order:
            self._survey(one, [])
        note_unmoved([o.history for o in self.order], self.moving.unmoved(self.names))


def sums(optimizer: Any, variables: list[Any]) -> list[Any]:
    """What an optimizer has accumulated of the gradients of its variables, arrays of the host."""
    kept = [optimizer._accumulated_gradients[optimizer._get_variable_index(v)] for v in variables]
    return [0.0 if k is None else host(k) for k in kept]


def described(optimizer: Any) -> dict[str, Any]:
    """The numbers of an optimizer: learning rate, momentum, weight decay ..."""
    found: dict[str, Any] = {}
    for key, value in optimizer.get_config().items():
        if isinstance(value, int | float | bool):
            found["lr" if key == "learning_rate" else key] = float(value)
    return found
