"""Recorder: hears of every backward pass and every optimizer step, and sees to it that the right Objective is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from gradscope.competition import belongs, note_competition
from gradscope.errors import NonFiniteError
from gradscope.guard import guarded
from gradscope.moving import note_unmoved
from gradscope.schedule import Schedule, sparse_schedule
from gradscope.scope import Scope
from torch import Tensor

from gradscope_torch import patches
from gradscope_torch.forward import Forward
from gradscope_torch.functions import observe
from gradscope_torch.mode import FunctionMode
from gradscope_torch.moving import Moving
from gradscope_torch.names import Names
from gradscope_torch.objective import Objective
from gradscope_torch.optimizer import kind_of
from gradscope_torch.passes import Mark, Passes
from gradscope_torch.reach import Reach, Seen
from gradscope_torch.register import Register
from gradscope_torch.replay.capture import Capture
from gradscope_torch.replay.sentinel import Sentinel
from gradscope_torch.running import Running
from gradscope_torch.turns import Turns

STEPS = "torch optimizer hooks"
MODULES = "torch module hooks"


class Recorder:
    """One observation: its objectives, its forward notes, and the events between steps."""

    def __init__(
        self,
        scope: Scope,
        names: Names,
        schedule: Schedule,
        wanted: Callable[[Any], bool],
        candidates: Callable[[], list[Tensor]] | None = None,
    ):
        """`wanted` tells whose steps count; `candidates` gives the parameters that make a backward pass count before
        the first step is seen. Without it every backward pass counts."""
        self.scope = scope
        self.names = names
        self.schedule = schedule
        self.wanted = wanted
        self.forward = Forward(names)
        self.moving = Moving()
        self.register = Register(scope, names, self._surveyed)
        self.on_step: Callable[[int], None] = lambda _steps: None
        self.on_outermost: Callable[[torch.nn.Module], None] = lambda _module: None
        self.forward.active = schedule(0)
        self.passes = Passes()
        self.capture = Capture(scope.failures)
        self.sentinel = Sentinel(scope, names, self.capture, lambda: self.order)
        self.shared: tuple[list[tuple[Any, Any]], int] = ([], 0)
        self.spent = False
        self.stepped = False
        self._running = Running()
        self._turns = Turns()
        self._closure: Any = None
        """The optimizer whose step is running, when it evaluates a closure."""
        self._broken = False
        """Whether the loss of the step that a scaler skipped was no number."""
        self._thread = threading.get_ident()
        self._candidates = candidates
        self._reach = Reach()
        self._open: tuple[Mark, Seen] | None = None
        failures = scope.failures
        self.mode = FunctionMode(self.forward, scope.limits, guarded("torch functions", failures, observe))
        self.meet = guarded(MODULES, failures, self._meet)
        self.enter = guarded(MODULES, failures, self._enter)
        self.leave = guarded(MODULES, failures, self._leave)
        self._step_begins_safely = guarded(STEPS, failures, self._step_begins)
        self._evaluated_safely = guarded(STEPS, failures, lambda optimizer: self.register.of(optimizer).gradients())
        self._step_ended_safely = guarded(STEPS, failures, self._step_ended)
        self._finish_safely = guarded(STEPS, failures, self._finish)
        self._scaler_ended_safely = guarded(STEPS, failures, self._scaler_ended)
        self._backward_begins_safely = guarded("torch backward", failures, self._backward_begins)
        self._backward_ended_safely = guarded("torch backward", failures, self._backward_ended)
        self.clipped = guarded("torch clipping", failures, self.passes.clipped)
        self.scaled = guarded("torch loss scaling", failures, self.passes.scaled)
        self.unscaled = guarded("torch loss scaling", failures, self.passes.unscaled)
        self.flush = guarded("torch rows", failures, self._flush)
        self.refresh = guarded("torch rows", failures, self._refresh)

    # -- forward ---------------------------------------------------------------------------------------------------

    def _meet(self, module: torch.nn.Module, frame: FrameType) -> None:
        """A module nobody knows begins its forward outside of any other, called from a frame: it is a root."""
        if not self.forward.stack and not self.names.known(module):
            self.names.meet(module, frame)
            for objective in self.order:
                objective.outdated = True

    def _enter(self, module: torch.nn.Module) -> None:
        if self.capture.resting:
            return
        if not self.forward.stack and self.spent:
            self.forward.reset()
            self.spent = False
        if not self.forward.stack:
            self.on_outermost(module)
        self.forward.enter(module)

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if self.capture.resting:
            return
        self.forward.leave(module, args, output)
        if output is not None:
            self.moving.ran(module)

    # -- events from patches ---------------------------------------------------------------------------------------

    def backward_begins(self, tensors: Any, options: dict[str, Any]) -> None:
        """backward() was called."""
        if not self._elsewhere():
            self._backward_begins_safely(tensors, options)

    def _elsewhere(self) -> bool:
        """Whether another thread is running than that of the watched steps: its gradients are not to be looked at."""
        return self._candidates is not None and threading.get_ident() != self._thread

    def _backward_begins(self, tensors: Any, options: dict[str, Any]) -> None:
        if self.passes.count and not self._running.anything:  # a closure may evaluate again and again
            self._look_for_abandoned()
        self._open = None
        if self._candidates is not None:
            if not self.order:
                self._reach.parameters = self._candidates()
            self._open = self.passes.mark(), self._reach.look()
        self.passes.begin(tensors)
        if self.scope.accidents.sought:
            self.capture.backward_begins(tensors, options)
        for objective in self.order:
            objective.backward_begins()

    def _look_for_abandoned(self) -> None:
        """Gradients that were thrown away, by a loop that saw they were bad, take their losses with them."""
        gone = [g for o in self.order if (g := o.abandoned()) is not None]
        if gone and all(gone):
            self.passes.clear()
            self.capture.step_ended()
            for objective in self.order:
                objective.clearing.abandon()

    def backward_ended(self) -> None:
        """backward() returned; inside of a step with a closure, the weights change next. Raises NonFiniteError."""
        if self._elsewhere():
            return
        self._backward_ended_safely()
        if self._closure is not None:
            self.evaluated(self._closure)

    def _backward_ended(self) -> None:
        opened, self._open = self._open, None
        if opened is not None and not self._reach.changed(opened[1]):
            self.passes.take_back(opened[0])
            self.capture.take_back()
            return
        self.capture.backward_ended()
        for objective in self.order:
            objective.backward_ended()

    def scaler_begins(self, _scaler: Any, _optimizer: Any) -> None:
        """A scaler's step begins."""
        self.stepped = False

    def scaler_ended(self, _scaler: Any, optimizer: Any) -> None:
        """A scaler's step returned: when the optimizer's own step never ran, it was skipped."""
        if not self.stepped and self.wanted(optimizer):
            self._broken = False
            self._scaler_ended_safely(optimizer)
            self._count(optimizer)
            objective = self.register.known(optimizer)
            if self._broken and objective is not None and self.scope.accidents.policy == "raise":
                self.sentinel.refuse(objective)

    def _scaler_ended(self, optimizer: Any) -> None:
        objective = self.register.of(optimizer)
        objective.skipped = True
        self._broken = self.sentinel.skipped_by_scaler(objective, True, self._losses(objective))
        full = self.schedule(objective.step)
        objective.before_step(full)
        self._finish(objective, full)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _surveyed(self) -> None:
        """Parameters may have come: it is looked at others, to tell whether a backward pass is ours."""
        if self._candidates is not None:
            self._reach.parameters = list({id(p): p for o in self.order for p in o.parameters}.values())
        self._open = None

    @property
    def order(self) -> list[Objective]:
        """The objectives, in the order in which they came."""
        return self.register.order

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """The optimizer's step begins. What steps is noted here, where no failing observer can disturb it. Gives the
        arguments that it is to be called with, where those are others."""
        if not self.wanted(optimizer):
            return None
        self._thread = threading.get_ident()
        self.capture.quiet()
        self.sentinel.step_begins()
        if self._running.begins(optimizer):
            self._step_begins_safely(optimizer, args, kwargs)
            self._closure = optimizer if has_closure(args, kwargs) else None
            if self._closure is None:
                stand_in = self._look_for_accident(optimizer)
                if stand_in is not None:
                    return (stand_in, *args[1:]), kwargs
        return None

    def evaluated(self, optimizer: Any) -> None:
        """Gradients have come to be inside a step with a closure; the weights change next. Raises NonFiniteError."""
        if self._running.anything and self.wanted(optimizer):
            self._evaluated_safely(optimizer)
            self._look_for_accident(optimizer)

    def _look_for_accident(self, optimizer: Any) -> Any:
        """Looks whether the step is finite, and does what was asked for where it is not. Raises NonFiniteError."""
        objective = self.register.known(optimizer)
        if objective is None or not self.scope.accidents.sought or STEPS in self.scope.failures:
            return None
        losses = self._losses(objective)
        bad = self.sentinel.failing(objective, losses)
        skips = bad and bool(objective.skipped)
        broken = self.sentinel.skipped_by_scaler(objective, skips, losses)
        if not bad or (skips and not broken):
            return None
        closure = self._closure is not None
        try:
            return self.sentinel.accident(objective, optimizer, closure=closure)
        except NonFiniteError:
            self._running.clear()
            self._finish_safely(objective, False, True)
            raise

    def _losses(self, objective: Objective) -> list[tuple[Any, Any]]:
        """The losses since the last step; none where another optimizer may have stepped by them."""
        if any(o is not objective and o.optimizer is not None for o in self.order):
            return []
        return self.passes.losses if self.passes.count else self.shared[0]

    def _step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        known = self.register.known(optimizer)
        if known is not None and sparse_schedule(known.step):
            self.register.look_for_replaced()
        objective = self.register.of(optimizer)
        objective.before_step(self.schedule(objective.step))
        if not has_closure(args, kwargs):
            objective.gradients()

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """The optimizer's step returned."""
        if not self._running.ended(optimizer) or not self.wanted(optimizer):
            return
        self._closure = None
        self.sentinel.step_ended()
        self.stepped = True
        self._step_ended_safely(optimizer, args, kwargs)
        self._count(optimizer)

    def _step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        objective = self.register.of(optimizer)
        self._finish(objective, self.schedule(objective.step), measured=not has_closure(args, kwargs))

    def _finish(self, objective: Objective, full: bool, measured: bool = False) -> None:
        if not measured:
            objective.gradients()
        fresh = self.passes.count > 0
        if fresh:
            self.shared = (self.passes.losses, self.passes.count)
            note_competition(self.scope, objective)
            objective.look_for_delivery()
        objective.between.losses, objective.between.passes = self.shared
        logged = self.scope.take_logged()
        if logged is not None and not objective.between.losses:
            objective.between.losses = [(logged, None)]
        objective.between.clip = self.passes.clip
        objective.between.scale = self.passes.scale
        objective.between.half = self.forward.half or (None if self.forward.unseen else False)
        notes = [n for n in self.forward.notes if belongs(n, objective, self.order)] if full else []
        direction = full or self.schedule(objective.step + 1)
        objective.after_step(full, direction, notes, self.forward.classes if full and fresh else [])
        self.passes.clear()
        self.capture.step_ended(kept=len(self.order) > 1)
        self.spent = True
        if full:
            objective.history.facts["called"] = sorted(self.forward.called)
        self.forward.active = any(self.schedule(o.step) for o in self.order)

    def _count(self, optimizer: Any) -> None:
        """Tells how many steps were taken, those included that were not observed because the observer failed."""
        if STEPS in self.scope.failures:
            self.forward.active = False
            self.forward.reset()
        known = self.register.known(optimizer)
        if known is not None and known.optimizer is optimizer:
            self._turns.step(known.kind, known.number)
        else:
            self._turns.step(kind_of(optimizer), -id(optimizer))
        self.on_step(self._turns.count)

    # -- beginning and end ------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """From now on backward, clipping and scaling are heard."""
        patches.listen(self)

    def close(self) -> None:
        """Hears nothing any more, and writes what waited."""
        patches.unlisten(self)
        self.mode.pop()
        self._running.clear()
        self.capture.close()
        self.refresh()
        self.forward.reset()

    def _flush(self) -> None:
        """Writes what waits."""
        for objective in self.order:
            objective.flush()

    def _refresh(self) -> None:
        """Writes what waits and gives everything its final name."""
        self._flush()
        self.names.refresh()
        self.register.survey()
        note_unmoved([o.history for o in self.order], self.moving.unmoved(self.names))


def has_closure(args: Any, kwargs: Any) -> bool:
    """Whether step() was given a closure, so that gradients come to be inside it."""
    return any(callable(a) for a in args[1:]) or callable(kwargs.get("closure"))
