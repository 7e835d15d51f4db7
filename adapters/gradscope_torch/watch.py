"""watch(model, optimizer): hooks on the user's own objects, which close() takes away again."""

from __future__ import annotations

import sys
from typing import Any

import torch
from gradscope.errors import CannotJudge, UsageError
from gradscope.schedule import sparse_schedule
from gradscope.scope import Scope
from torch.optim import optimizer as torch_optimizer

from gradscope_torch.hook import StepHook
from gradscope_torch.layer_hooks import LayerHooks
from gradscope_torch.names import Names
from gradscope_torch.recorder import Recorder
from gradscope_torch.replay.root_hooks import RootHooks
from gradscope_torch.source import Sources


class Watch:
    """The hooks of one watch. On ordinary steps only the optimizer's two hooks and backward are heard, and, unless what
    is not finite is to be ignored, the two hooks of RootHooks and what is called between a model and backward."""

    def __init__(self, scope: Scope, model: torch.nn.Module | list[torch.nn.Module], optimizer: Any):
        models = list(model) if isinstance(model, list | tuple) else [model]
        self.optimizers = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer] if optimizer else []
        self.optimizers = [innermost(o) for o in self.optimizers]
        check_arguments(models, self.optimizers)
        names = Names(Sources())
        frame = sys._getframe(2)
        for one in models:
            names.add_root(one, None, frame)
        mine = {id(p) for p in names.all_parameters()}
        self.models = models
        self.recorder = Recorder(scope, names, sparse_schedule, lambda o: self._is_ours(o, mine), self._candidates)
        self._handles: list[Any] = []
        self.layers = LayerHooks(self.recorder, models)
        self.recorder.on_step = self.layers.switch
        self.roots = RootHooks(self.recorder.capture, models, scope.failures) if scope.accidents.sought else None
        if self.roots is not None:
            self.recorder.on_outermost = self.roots.outermost
        for one in self.optimizers:
            self._handles.append(one.register_step_pre_hook(StepHook(self.recorder.step_begins)))
            self._handles.append(one.register_step_post_hook(StepHook(self.recorder.step_ended)))
        if not self.optimizers:
            self._handles.append(torch_optimizer.register_optimizer_step_pre_hook(StepHook(self.recorder.step_begins)))
            self._handles.append(torch_optimizer.register_optimizer_step_post_hook(StepHook(self.recorder.step_ended)))
        self.recorder.listen()
        self.layers.switch(0)

    def _candidates(self) -> list[torch.Tensor]:
        """Whose gradients tell that a backward pass is ours, as long as no step was seen."""
        held = [p for o in self.optimizers for g in o.param_groups for p in g["params"]]
        return [*self.recorder.names.all_parameters(), *held]

    def flush(self) -> None:
        """Writes what waits, so that the history is up to date."""
        self.recorder.flush()

    def evaluated(self, optimizer: Any) -> None:
        """A trainer whose optimizers step with a closure tells that it was called. Raises NonFiniteError."""
        self.recorder.evaluated(innermost(optimizer))

    def refresh(self) -> None:
        """Writes what waits, so that a report shows everything; harmless at any time."""
        self.recorder.refresh()

    def _is_ours(self, optimizer: Any, mine: set[int]) -> bool:
        if self.optimizers:
            return any(optimizer is o for o in self.optimizers)
        held = {id(p) for g in optimizer.param_groups for p in g["params"]}
        if held.isdisjoint(mine):  # the model may have others by now, as after to_empty()
            mine.update(id(p) for p in self.recorder.names.all_parameters())
        return not held.isdisjoint(mine)

    def close(self) -> None:
        """Removes every hook and wrapper."""
        self.recorder.forward.active = False
        self.layers.close()
        if self.roots is not None:
            self.roots.close()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.recorder.close()


def innermost(optimizer: Any) -> Any:
    """The optimizer that steps, inside those that a trainer wraps around it (Accelerate, Lightning): hooks on a wrapper
    never fire."""
    while isinstance(optimizer, torch.optim.Optimizer) and isinstance(
        inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer
    ):
        optimizer = inner
    return optimizer


def check_arguments(models: list[Any], optimizers: list[Any]) -> None:
    """Raises UsageError for what is no model or optimizer or for an optimizer of another model, CannotJudge for a
    model without parameters."""
    for model in models:
        if not isinstance(model, torch.nn.Module):
            raise UsageError(f"watch(): expected a torch.nn.Module, got {type(model).__name__} {model!r:.80}")
    for optimizer in optimizers:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise UsageError(f"watch(): expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if not any(p.requires_grad for m in models for p in m.parameters()):
        kinds = ", ".join(type(m).__name__ for m in models)
        raise CannotJudge(f"watch(): {kinds} has no parameter that requires a gradient; there is nothing to judge")
    mine = {id(p) for m in models for p in m.parameters()}
    for optimizer in optimizers:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if held and not any(id(p) in mine for p in held):
            kinds = ", ".join(type(m).__name__ for m in models)
            raise UsageError(
                f"watch(): this {type(optimizer).__name__} holds no parameter of the model ({kinds}): was it made for "
                "another model, or before this one was replaced?"
            )
