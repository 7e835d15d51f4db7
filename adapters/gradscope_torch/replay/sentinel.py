"""Sentinel: looks at every step before the weights change; one that is not finite is run again, saved, withheld or
refused, as was asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from gradscope.errors import NonFiniteError
from gradscope.guard import guarded
from gradscope.origin import Origin, origin_at
from gradscope.scope import Scope
from torch import Tensor

from gradscope_torch.names import Names
from gradscope_torch.replay.births import Births
from gradscope_torch.replay.capture import PART, Capture
from gradscope_torch.replay.fate import fate_of
from gradscope_torch.replay.run import replayed

if TYPE_CHECKING:
    from gradscope_torch.objective import Objective

FIRST_CAUSE = "first cause"
MOST_REPLAYS = 4
"""So many steps of one optimizer are run again; of the others it is only counted that they were not finite."""
PERSISTENT = 4
"""So many steps in a row that a loss scaler skips are no longer its search for a scale."""


class Sentinel:
    """The look at every step of one observation."""

    def __init__(self, scope: Scope, names: Names, capture: Capture, objectives: Callable[[], Sequence[Objective]]):
        self.scope = scope
        self.objectives = objectives
        self.names = names
        self.capture = capture
        self._replays = 0
        self._skips = 0
        self._withheld: list[tuple[Tensor, Any]] = []
        self._find = guarded(PART, scope.failures, self._look_for_origin)
        if scope.accidents.save is not None:
            import_module("gradscope_torch.bundle.writing")  # that it cannot be saved is said now, not when it fails
        self._save = guarded("saving the failing step", scope.failures, self._save_step)

    def failing(self, norms: Any, losses: list[tuple[Any, Any]]) -> bool:
        """Whether a norm or a loss of the step that begins is not finite."""
        return not_finite(norms) or any(not_finite(loss) for loss, _ in losses)

    def accident(self, objective: Objective, optimizer: Any) -> None:
        """A step is not finite: finds out why, and does what was asked for. Raises NonFiniteError when that was."""
        if objective.withheld:
            return  # a closure was looked at before
        self._find(objective)
        self._save(objective, optimizer)
        policy = self.scope.accidents.policy
        if policy == "skip":
            self._withhold(objective, optimizer)
        if policy == "raise":
            origin = origin_at(objective.history, objective.step)
            saved = objective.history.facts.get("bundle")
            raise NonFiniteError(told(objective, origin) + (f"; saved in {saved}" if saved else ""), origin)

    def skipped_by_scaler(self, objective: Objective, bad: bool) -> None:
        """A loss scaler skipped the step: benign, until it does so again and again."""
        self._skips = self._skips + 1 if bad else 0
        if self._skips == PERSISTENT and self.scope.accidents.sought:
            self._find(objective)
            self._save(objective, objective.optimizer)

    def step_ended(self) -> None:
        """Gives back the gradients of a step that was withheld."""
        withheld, self._withheld = self._withheld, []
        for parameter, gradient in withheld:
            parameter.grad = gradient

    # -- parts -----------------------------------------------------------------------------------------------------

    def _look_for_origin(self, objective: Objective) -> None:
        facts = objective.history.facts
        if "origin" in facts or self._replays >= MOST_REPLAYS:
            return
        tape = self.capture.tape
        why = reason_against(self.capture, self.names)
        if why:
            facts["origin_unknown"] = why
            self.scope.limits.setdefault(FIRST_CAUSE, f"step {objective.step} was not finite, and {why}")
            return
        self._replays += 1
        self.capture.resting = True
        try:
            failure = replayed(tape, self.names)
        except Exception as error:  # noqa: BLE001 - what the model itself says of being called once more
            text = f"step {objective.step} was not finite, and could not be run again: {type(error).__name__}: {error}"
            self.scope.limits.setdefault(FIRST_CAUSE, text)
            return
        finally:
            self.capture.resting = False
        if failure is None:
            text = f"step {objective.step} was not finite, and stayed finite when it was run again"
            self.scope.limits.setdefault(FIRST_CAUSE, text)
            return
        fate = partial(fate_of, objectives=self.objectives())
        facts["origin"] = Births(tape, failure, self.names, objective.step, fate).origin()
        self.scope.limits.pop(FIRST_CAUSE, None)

    def _save_step(self, objective: Objective, optimizer: Any) -> None:
        folder = self.scope.accidents.save
        if folder is None or "bundle" in objective.history.facts or not self.capture.tape.passes:
            return
        from gradscope_torch.bundle.writing import save_bundle

        origin = origin_at(objective.history, objective.step)
        path = save_bundle(folder, self.capture.tape, self.names, optimizer, objective.step, origin)
        objective.history.facts["bundle"] = str(path)

    def _withhold(self, objective: Objective, optimizer: Any) -> None:
        """Takes the gradients away, without which an optimizer changes neither weights nor its state."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._withheld.append((parameter, parameter.grad))
                    parameter.grad = None
        objective.withheld = True
        self.scope.skipped_steps += 1


def not_finite(numbers: Any) -> bool:
    """Whether one of some numbers is not finite; waits for an accelerator that they lie on."""
    if isinstance(numbers, Tensor):
        return not bool(torch.isfinite(numbers).all())
    if isinstance(numbers, float | int):
        return not math.isfinite(numbers)
    return any(not math.isfinite(n) for n in numbers)


def reason_against(capture: Capture, names: Names) -> str:
    """Why a step cannot be run again; "" where it can."""
    tape = capture.tape
    if tape.lost:
        return tape.lost
    if not tape.passes or not any(c.is_model for c in tape.calls):
        return "no call of the whole model led to it, so it could not be run again; the next one that fails will be"
    sharded = any(hasattr(p, "full_tensor") for p in names.all_parameters())
    return "its weights are sharded over processes: it was not run again" if sharded else ""


def told(objective: Objective, origin: Origin | None) -> str:
    """What NonFiniteError says."""
    if origin is None:
        return f"step {objective.step}: the loss or a gradient is not finite; the weights were not changed"
    where = f" in {origin.module!r} ({origin.module_class})" if origin.module else ""
    at = f" at {origin.source}" if origin.source else ""
    why = f": {origin.reason}" if origin.reason else ""
    return f"step {objective.step}: {origin}{where}{at}{why}; the weights were not changed"
