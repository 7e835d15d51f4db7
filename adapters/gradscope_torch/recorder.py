"""Recorder: hears of every backward pass and every optimizer step, and sees to it that the right Objective is told."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from gradscope.scope import Scope
from torch import Tensor
from torch.overrides import _len_torch_function_stack

from gradscope_torch import patches
from gradscope_torch.forward import Forward, Note, guarded
from gradscope_torch.functions import FunctionMode, observe
from gradscope_torch.names import Names
from gradscope_torch.objective import Objective

Schedule = Callable[[int], bool]


def every_step(_step: int) -> bool:
    """Full statistics in every step: what `check` uses."""
    return True


def sparse_schedule(step: int) -> bool:
    """Full statistics at steps 0, 1, 2, 4, 8, ... 64 and then at every hundredth: what `watch` uses."""
    return step % 100 == 0 if step > 64 else step & (step - 1) == 0


class Recorder:
    """One observation: its objectives, its forward notes, and the events between steps."""

    def __init__(self, scope: Scope, names: Names, schedule: Schedule, wanted: Callable[[Any], bool]):
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
        self.depth = 0
        self.stepped: Any = None
        self.order: list[Objective] = []
        self._by_optimizer: dict[int, Objective] = {}
        failures = scope.failures
        self.mode = FunctionMode(self.forward, guarded("torch functions", failures, observe))
        self.enter = guarded("torch module hooks", failures, self._enter)
        self.leave = guarded("torch module hooks", failures, self._leave)
        self.step_begins = guarded("torch optimizer hooks", failures, self._step_begins)
        self._step_ended_safely = guarded("torch optimizer hooks", failures, self._step_ended)
        self.backward_begins = guarded("torch backward", failures, self._backward_begins)
        self.backward_ended = guarded("torch backward", failures, self._backward_ended)
        self.clipped = guarded("torch clipping", failures, self._clipped)
        self.scaled = guarded("torch loss scaling", failures, self._scaled)
        self.scaler_begins = guarded("torch loss scaling", failures, self._scaler_begins)
        self._scaler_ended_safely = guarded("torch loss scaling", failures, self._scaler_ended)

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
        tensor = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        if isinstance(tensor, Tensor) and tensor.numel() == 1:
            known = self.scales.get(id(tensor))
            scale = known[1] if known is not None and known[0]() is tensor else None
            self.losses.append((tensor.detach().reshape(()), scale))
            self.scale = scale if scale is not None else self.scale
        self.passes += 1
        for objective in self.order:
            objective.look_for_clearing()

    def _backward_ended(self) -> None:
        for objective in self.order:
            objective.look_for_delivery()

    def _clipped(self, norm: Any, limit: Any) -> None:
        self.clip = (norm, limit)

    def _scaled(self, outputs: Any, scale: Any) -> None:
        if isinstance(outputs, Tensor) and scale is not None:
            self.scales = {id(outputs): (weakref.ref(outputs), scale.detach().clone())}

    def _scaler_begins(self, _scaler: Any, _optimizer: Any) -> None:
        self.stepped = None

    def scaler_ended(self, scaler: Any, optimizer: Any) -> None:
        """A scaler's step returned: when the optimizer's own step never ran, it was skipped."""
        self._scaler_ended_safely(scaler, optimizer)
        self._tell()

    def _scaler_ended(self, _scaler: Any, optimizer: Any) -> None:
        if self.stepped is not None or not self.wanted(optimizer):
            return
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
        key = frozenset(id(p) for g in optimizer.param_groups for p in g["params"])
        found = found or self.objectives.get(key)
        if found is None:
            name = f"{type(optimizer).__name__} {len(self.objectives) + 1}"
            history = self.scope.new_history(
                name, framework="torch", optimizer=type(optimizer).__name__, settings=described(optimizer)
            )
            found = Objective(optimizer, history, self.names)
            self.objectives[key] = found
            self.order.append(found)
        found.optimizer = optimizer
        self._by_optimizer[id(optimizer)] = found
        self.survey(found)
        return found

    def survey(self, *objectives: Objective) -> None:
        """Lets objectives (all of them, without arguments) find their parameters and names anew."""
        for one in objectives or self.order:
            others = (g for o in self.order if o is not one for g in o.optimizer.param_groups)
            one.survey({id(p) for group in others for p in group["params"]})

    def _step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.depth += 1
        if self.depth > 1 or not self.wanted(optimizer):
            return
        objective = self.objective(optimizer)
        objective.before_step(self.schedule(objective.step))
        if not has_closure(args, kwargs):
            objective.gradients()

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """The optimizer's step returned."""
        self._step_ended_safely(optimizer, args, kwargs)
        if self.depth == 0:
            self._tell()

    def _step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.depth = max(0, self.depth - 1)
        if self.depth or not self.wanted(optimizer):
            return
        objective = self.objective(optimizer)
        self.stepped = optimizer
        self._finish(objective, self.schedule(objective.step), measured=not has_closure(args, kwargs))

    def _finish(self, objective: Objective, full: bool, measured: bool = False) -> None:
        if not measured:
            objective.gradients()
        fresh = self.passes > 0
        if fresh:
            self.shared = (self.losses, self.passes)
            self._note_competition(objective)
        objective.between.losses, objective.between.passes = self.shared
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

    def _tell(self) -> None:
        if self.order:
            self.on_step(max(o.step for o in self.order))

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
        """Enters the function mode, unless some other mode is on: the stack of modes must stay the user's."""
        if not self.forward.mode_active and _len_torch_function_stack() == 0:
            self.mode.__enter__()
            self.forward.mode_active = True

    def pop_mode(self) -> None:
        """Leaves the function mode when it is the innermost one."""
        from torch.overrides import _get_current_function_mode

        if self.forward.mode_active and _get_current_function_mode() is self.mode:
            self.mode.__exit__(None, None, None)
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

    def refresh(self) -> None:
        """Writes what waited on an accelerator and gives everything its final name."""
        for objective in self.order:
            objective.flush()
        self.names.refresh()
        self.survey()


def has_closure(args: Any, kwargs: Any) -> bool:
    """Whether step() was given a closure, so that gradients come to be inside it."""
    return any(callable(a) for a in args[1:]) or callable(kwargs.get("closure"))


def described(optimizer: Any) -> dict[str, Any]:
    """The numbers of an optimizer's first group: learning rate, momentum, weight decay ..."""
    group = optimizer.param_groups[0] if optimizer.param_groups else {}
    return {k: v for k, v in group.items() if isinstance(v, int | float | bool) and k != "params"}
