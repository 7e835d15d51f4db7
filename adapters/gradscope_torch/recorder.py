"""Recorder: hears of every backward pass and every optimizer step, and sees to it that the right Objective is told."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gradscope.guard import guarded
from gradscope.row import Note
from gradscope.schedule import Schedule
from gradscope.scope import Scope
from torch import Tensor
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode

from gradscope_torch import patches
from gradscope_torch.forward import Forward
from gradscope_torch.functions import FunctionMode, observe
from gradscope_torch.names import Names
from gradscope_torch.objective import Objective

STEPS = "torch optimizer hooks"


@dataclass(slots=True)
class Opened:
    """How things were when a backward pass began: the losses and their count, the scale, and the gradients."""

    losses: list[tuple[Any, Any]]
    count: int
    scale: Any
    gradients: list[tuple[Tensor, int] | None] | None


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
        self.objectives: dict[frozenset[int], Objective] = {}
        self.on_step: Callable[[int], None] = lambda _steps: None
        self.forward.active = schedule(0)
        self.losses: list[tuple[Tensor, Any]] = []
        self.passes = 0
        self.shared: tuple[list[tuple[Tensor, Any]], int] = ([], 0)
        self.spent = False
        self.clip: tuple[Any, Any] | None = None
        self.scales: dict[int, tuple[Any, Any]] = {}
        self.scale: Any = None
        self.stepping: list[Any] = []
        self.missed: dict[frozenset[int], int] = {}
        self._candidates = candidates
        self._judged: list[Tensor] = []
        self._open: Opened | None = None
        self._touched = -1
        self.stepped: Any = None
        self.order: list[Objective] = []
        self._by_optimizer: dict[int, Objective] = {}
        failures = scope.failures
        self.mode = FunctionMode(self.forward, guarded("torch functions", failures, observe))
        self.enter = guarded("torch module hooks", failures, self._enter)
        self.leave = guarded("torch module hooks", failures, self._leave)
        self._step_begins_safely = guarded(STEPS, failures, self._step_begins)
        self._step_ended_safely = guarded(STEPS, failures, self._step_ended)
        self.backward_begins = guarded("torch backward", failures, self._backward_begins)
        self.backward_ended = guarded("torch backward", failures, self._backward_ended)
        self.clipped = guarded("torch clipping", failures, self._clipped)
        self.scaled = guarded("torch loss scaling", failures, self._scaled)
        self._scaler_ended_safely = guarded(STEPS, failures, self._scaler_ended)

    # -- forward ---------------------------------------------------------------------------------------------------

    def _enter(self, module: torch.nn.Module) -> None:
        if not self.forward.stack and self.spent:
            self.forward.reset()
            self.spent = False
        self.forward.enter(module)

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self.forward.leave(module, args, output)

    # -- events from patches ---------------------------------------------------------------------------------------

    def _backward_begins(self, tensors: Any) -> None:
        self._open = Opened(self.losses, len(self.losses), self.scale, self._gradients())
        tensor = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        if isinstance(tensor, Tensor) and tensor.numel() == 1:
            known = self.scales.get(id(tensor))
            scale = known[1] if known is not None and known[0]() is tensor else None
            self.losses.append((held(tensor), scale))
            self.scale = scale if scale is not None else self.scale
        self.passes += 1
        for objective in self.order:
            objective.look_for_clearing()

    def _gradients(self) -> list[tuple[Tensor, int] | None] | None:
        """(gradient, its version) of every parameter whose gradients tell that a pass is ours; None: all are."""
        if self._candidates is None:
            return None
        if not self.order:
            self._judged = self._candidates()
        return [(g, g._version) if (g := p.grad) is not None else None for p in self._judged]

    def _backward_ended(self) -> None:
        opened, self._open = self._open, None
        if opened is not None and opened.gradients is not None and not self._changed(opened.gradients):
            self._forget(opened)
            return
        for objective in self.order:
            objective.look_for_delivery()

    def _changed(self, before: list[tuple[Tensor, int] | None]) -> bool:
        """Whether a gradient is another one, or has other values, than before; first looks where it was last found."""
        if len(before) != len(self._judged):
            return True
        if 0 <= self._touched < len(before) and is_other(self._judged[self._touched], before[self._touched]):
            return True
        for at in reversed(range(len(before))):
            if is_other(self._judged[at], before[at]):
                self._touched = at
                return True
        return False

    def _forget(self, opened: Opened) -> None:
        """Takes back the last pass, unless a step inside it has used it up already."""
        if self.losses is opened.losses and self.passes:
            del self.losses[opened.count :]
            self.passes -= 1
            self.scale = opened.scale

    def _clipped(self, norm: Any, limit: Any) -> None:
        self.clip = (norm, limit)

    def _scaled(self, outputs: Any, scale: Any) -> None:
        if isinstance(outputs, Tensor) and scale is not None:
            self.scales = {id(outputs): (weakref.ref(outputs), scale.detach().clone())}

    def scaler_begins(self, _scaler: Any, _optimizer: Any) -> None:
        """A scaler's step begins."""
        self.stepped = None

    def scaler_ended(self, _scaler: Any, optimizer: Any) -> None:
        """A scaler's step returned: when the optimizer's own step never ran, it was skipped."""
        if self.stepped is None and self.wanted(optimizer):
            self._scaler_ended_safely(optimizer)
            self._count(optimizer)

    def _scaler_ended(self, optimizer: Any) -> None:
        objective = self.objective(optimizer)
        objective.skipped = True
        full = self.schedule(objective.step)
        objective.before_step(full)
        self._finish(objective, full)

    # -- steps -----------------------------------------------------------------------------------------------------

    def objective(self, optimizer: Any) -> Objective:
        """The Objective of an optimizer; one with the same parameters continues that of its predecessor."""
        found = self._by_optimizer.get(id(optimizer))
        if found is not None and found.optimizer is optimizer and not found.unknown:
            return found
        key = key_of(optimizer)
        found = found if found is not None and found.optimizer is optimizer else self.objectives.get(key)
        if found is None:
            name = f"{type(optimizer).__name__} {len(self.objectives) + 1}"
            history = self.scope.new_history(
                name, framework="torch", optimizer=type(optimizer).__name__, settings=described(optimizer)
            )
            found = Objective(optimizer, history, self.names)
            self.order.append(found)
        self.objectives = {k: o for k, o in self.objectives.items() if o is not found} | {key: found}
        found.optimizer = optimizer
        self._by_optimizer[id(optimizer)] = found
        self.survey(found)
        return found

    def survey(self, *objectives: Objective) -> None:
        """Lets objectives (all of them, without arguments) find their parameters and names anew."""
        for one in objectives or self.order:
            others = (g for o in self.order if o is not one for g in o.optimizer.param_groups)
            one.survey({id(p) for group in others for p in group["params"]})
        self._judged = list({id(p): p for o in self.order for p in o.parameters}.values())
        self._open = None

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """The optimizer's step begins. What steps is noted here, where no failing observer can disturb it: of an
        optimizer that calls another one only the outer counts. One that begins anew had raised the last time."""
        while any(o is optimizer for o in self.stepping):
            self.stepping.pop()
        self.stepping.append(optimizer)
        if len(self.stepping) == 1 and self.wanted(optimizer):
            self._step_begins_safely(optimizer, args, kwargs)

    def _step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        objective = self.objective(optimizer)
        objective.before_step(self.schedule(objective.step))
        if not has_closure(args, kwargs):
            objective.gradients()

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """The optimizer's step returned."""
        while any(o is optimizer for o in self.stepping):
            self.stepping.pop()
        if self.stepping or not self.wanted(optimizer):
            return
        self.stepped = optimizer
        self._step_ended_safely(optimizer, args, kwargs)
        self._count(optimizer)

    def _step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        objective = self.objective(optimizer)
        self._finish(objective, self.schedule(objective.step), measured=not has_closure(args, kwargs))

    def _finish(self, objective: Objective, full: bool, measured: bool = False) -> None:
        if not measured:
            objective.gradients()
        fresh = self.passes > 0
        if fresh:
            self.shared = (self.losses, self.passes)
            self._note_competition(objective)
        objective.between.losses, objective.between.passes = self.shared
        logged = self._take_logged()
        if logged is not None and not objective.between.losses:
            objective.between.losses = [(logged, None)]
        if fresh and not any(o is objective for o in self.order if o.between.delivered):
            objective.look_for_delivery()
        objective.between.clip = self.clip
        objective.between.scale = self.scale
        notes = [n for n in self.forward.notes if self._belongs(n, objective)] if full else []
        direction = full or self.schedule(objective.step + 1)
        objective.after_step(full, direction, notes, self.forward.classes if full and fresh else [])
        self.losses, self.passes, self.clip, self.scale = [], 0, None, None
        self.spent = True
        if full:
            objective.history.facts["called"] = sorted(self.forward.called)
        self.forward.active = any(self.schedule(o.step) for o in self.order)

    def _take_logged(self) -> float | None:
        take = getattr(self.scope, "take_logged", None)
        return take() if take is not None else None

    def _count(self, optimizer: Any) -> None:
        """Tells how many steps were taken, those included that were not observed because the observer failed."""
        if STEPS in self.scope.failures:
            key = key_of(optimizer)
            self.missed[key] = self.missed.get(key, 0) + 1
            self.forward.active = False
            self.forward.reset()
        seen = max((o.step for o in self.order), default=0)
        self.on_step(seen + max(self.missed.values(), default=0))

    def _note_competition(self, objective: Objective) -> None:
        last = self.scope.last_objective
        if last is not None and last is not objective and objective.step:
            for one in (last, objective):
                one.history.facts["competing"] = True
        self.scope.last_objective = objective

    def _belongs(self, note: Note, objective: Objective) -> bool:
        if note.table == "loss" or len(self.order) < 2:
            return True
        for other in self.order:
            if other is not objective and note.module in {
                s.module for s, mine in zip(other.history["gradient"].subjects, other.optimized, strict=False) if mine
            }:
                return False
        return True

    # -- the function mode -----------------------------------------------------------------------------------------

    def push_mode(self) -> None:
        """Enters the function mode, unless a mode that is not ours is on: that stack must stay the user's."""
        if self.forward.mode_active:
            return
        foreign = [m for m in _get_current_function_mode_stack() if not isinstance(m, FunctionMode)]
        if foreign:
            kind = type(foreign[-1]).__name__
            self.scope.limits.setdefault("activations", f"another torch function mode is on ({kind})")
            return
        self.mode.__enter__()
        self.forward.mode_active = True

    def pop_mode(self) -> None:
        """Leaves the function mode, wherever in the stack it is; the others stay as they are."""
        if not self.forward.mode_active or not any(m is self.mode for m in _get_current_function_mode_stack()):
            return
        above = []
        while (mode := _pop_mode()) is not self.mode:
            above.append(mode)
        for mode in reversed(above):
            _push_mode(mode)
        self.forward.mode_active = False

    def listen(self) -> None:
        """From now on backward, clipping and scaling are heard."""
        patches.listen(self)

    def close(self) -> None:
        """Hears nothing any more, and writes what waited."""
        patches.unlisten(self)
        self.pop_mode()
        self.refresh()
        self.forward.reset()

    def flush(self) -> None:
        """Writes what waits."""
        for objective in self.order:
            objective.flush()

    def refresh(self) -> None:
        """Writes what waits and gives everything its final name."""
        self.flush()
        self.names.refresh()
        self.survey()


def key_of(optimizer: Any) -> frozenset[int]:
    """Which parameters an optimizer holds."""
    return frozenset(id(p) for g in optimizer.param_groups for p in g["params"])


def held(number: Tensor) -> Any:
    """A number that stays what it is: a float from the host, a copy on an accelerator, which is not waited for."""
    return number.item() if number.device.type == "cpu" else number.detach().clone()


def is_other(parameter: Tensor, before: tuple[Tensor, int] | None) -> bool:
    """Whether the gradient of a parameter is another one, or has been written to."""
    now = parameter.grad
    if now is None or before is None:
        return now is not None
    return now is not before[0] or now._version != before[1]


def has_closure(args: Any, kwargs: Any) -> bool:
    """Whether step() was given a closure, so that gradients come to be inside it."""
    return any(callable(a) for a in args[1:]) or callable(kwargs.get("closure"))


def described(optimizer: Any) -> dict[str, Any]:
    """The numbers of an optimizer's first group: learning rate, momentum, weight decay ..."""
    group = optimizer.param_groups[0] if optimizer.param_groups else {}
    return {k: v for k, v in group.items() if isinstance(v, int | float | bool) and k != "params"}
