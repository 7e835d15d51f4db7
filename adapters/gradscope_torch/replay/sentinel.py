"""Sentinel: looks at every step before the weights change; one that is not finite is run again, saved, withheld or
refused, as was asked."""

from __future__ import annotations

import cmath
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from gradscope.errors import NonFiniteError
from gradscope.guard import guarded
from gradscope.origin import Origin
from gradscope.scope import Scope
from torch import Tensor

from gradscope_torch.names import Names
from gradscope_torch.replay.births import Births
from gradscope_torch.replay.calls import Pass
from gradscope_torch.replay.capture import PART, Capture
from gradscope_torch.replay.fate import fate_of
from gradscope_torch.replay.run import models_of, replayed
from gradscope_torch.sharding import is_sharded

if TYPE_CHECKING:
    from gradscope_torch.objective import Objective

FIRST_CAUSE = "first cause"
SAVING = "the failing step was not saved"
NOTHING: list[tuple[Any, Any]] = []
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
        self._replays: dict[int, int] = {}
        self._skips: dict[int, int] = {}
        self._origin: Origin | None = None
        """That of the step that is looked at."""
        self._explained: tuple[weakref.ref[Pass], Origin] | None = None
        """(the last backward pass of the step that was run again, what came of it)."""
        self._withheld: list[tuple[Tensor, Any]] = []
        self._find = guarded(PART, scope.failures, self._look_for_origin)
        if scope.accidents.save is not None:
            import_module("gradscope_torch.bundle.writing")  # that it cannot be saved is said now, not when it fails
        self._save = guarded(SAVING, scope.limits, self._save_step)

    def failing(self, objective: Objective, losses: list[tuple[Any, Any]]) -> bool:
        """Whether a norm or a loss of the step that begins is not finite. Where processes train one model together and
        steps are withheld or refused, whether it is so in any of them."""
        bad = False
        try:
            bad = any_not_finite([*objective.own_norms(), *(loss for loss, _ in losses)])
            bad = bad and objective.confirms_bad(losses)
        except Exception as error:  # noqa: BLE001 - the look must not hurt the step
            self.scope.failures.setdefault(PART, f"{type(error).__name__}: {error}")
        acts = self.scope.accidents.policy in {"skip", "raise"}
        return agreed(bad, [root for root, _ in self.names.roots.values()]) if acts else bad

    def accident(self, objective: Objective, optimizer: Any, *, closure: bool = False) -> Any:
        """A step is not finite: finds out why, and does what was asked for. Gives what steps instead, where the step is
        withheld. Raises NonFiniteError when that was asked for."""
        self._origin = None
        self._find(objective)
        self._save(objective, optimizer)
        policy = self.scope.accidents.policy
        if policy == "raise":
            self.refuse(objective, closure=closure)
        return self._withhold(objective, optimizer, closure) if policy == "skip" else None

    def refuse(self, objective: Objective, *, closure: bool = False) -> None:
        """Raises NonFiniteError."""
        saved = objective.history.facts.get("bundle")
        text = told(objective, self._origin)
        text += "" if closure else "; the weights were not changed"
        raise NonFiniteError(text + (f"; saved in {saved}" if saved else ""), self._origin)

    def skipped_by_scaler(self, objective: Objective, bad: bool, losses: list[tuple[Any, Any]] = NOTHING) -> bool:
        """A loss scaler skipped the step: benign, until it does so again and again, or where the loss itself is no
        number, which no scale cures. Gives whether that is so."""
        count = self._skips[objective.number] = self._skips.get(objective.number, 0) + 1 if bad else 0
        broken = bad and any(is_nan(loss) for loss, _ in losses)
        if (count == PERSISTENT or broken) and self.scope.accidents.sought:
            self._origin = None
            self._find(objective)
            self._save(objective, objective.optimizer)
        return broken

    def step_begins(self) -> None:
        """Forgets gradients that were taken away for a step that raised."""
        self._withheld = []

    def step_ended(self) -> None:
        """Gives back the gradients of a step that was withheld."""
        withheld, self._withheld = self._withheld, []
        for parameter, gradient in withheld:
            parameter.grad = gradient

    # -- parts -----------------------------------------------------------------------------------------------------

    def _look_for_origin(self, objective: Objective) -> None:
        facts = objective.history.facts
        tape = self.capture.tape
        if self._explained and tape.passes and self._explained[0]() is tape.passes[-1]:
            self._origin = replace(self._explained[1], step=objective.step)  # that of another optimizer in this step
            facts.setdefault("origin", self._origin)
            return
        again = self.scope.accidents.policy in {"skip", "raise"}
        count = self._replays[objective.number] = self._replays.get(objective.number, 0) + 1
        if ("origin" in facts and not again) or count > MOST_REPLAYS:
            return
        why = reason_against(self.capture, self.names)
        if why:
            self._say(f"step {objective.step} was not finite, and {why}")
            return
        self.capture.resting = True
        try:
            failure = replayed(tape, self.names)
        except Exception as error:  # noqa: BLE001 - what the model itself says of being called once more
            why = f"{type(error).__name__}: {error}"
            self._say(f"step {objective.step} was not finite, and could not be run again: {why}")
            return
        finally:
            self.capture.resting = False
        if failure is None:
            self._say(f"step {objective.step} was not finite, and stayed finite when it was run again")
            return
        fate = partial(fate_of, objectives=self.objectives())
        self._origin = Births(tape, failure, self.names, objective.step, fate).origin()
        self._explained = weakref.ref(tape.passes[-1]), self._origin
        facts.setdefault("origin", self._origin)
        self.scope.limits.pop(FIRST_CAUSE, None)

    def _say(self, why: str) -> None:
        self.scope.limits.setdefault(FIRST_CAUSE, why)

    def _save_step(self, objective: Objective, optimizer: Any) -> None:
        folder = self.scope.accidents.save
        if folder is None or "bundle" in objective.history.facts or not self.capture.tape.passes:
            return
        from gradscope_torch.bundle.writing import save_bundle

        path = save_bundle(folder, self.capture.tape, self.names, optimizer, objective.step, self._origin)
        objective.history.facts["bundle"] = str(path)

    def _withhold(self, objective: Objective, optimizer: Any, closure: bool) -> Any:
        """Lets an optimizer of the same class step that holds no parameters, so that neither weights nor state change.
        Where gradients come to be inside of the step, or another optimizer steps inside, they are taken away too."""
        inner = any(isinstance(v, torch.optim.Optimizer) for v in vars(optimizer).values())
        for group in optimizer.param_groups if closure or inner else ():
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._withheld.append((parameter, parameter.grad))
                    parameter.grad = None
        if not objective.withheld:  # a closure may be evaluated again and again
            self.scope.skipped_steps += 1
        objective.withheld = True
        stand_in = object.__new__(type(optimizer))
        vars(stand_in).update(vars(optimizer) | {"param_groups": []})
        return None if closure else stand_in


def any_not_finite(numbers: list[Any]) -> bool:
    """Whether one of some numbers is not finite; those of an accelerator are waited for once."""
    tensors = [n for n in numbers if isinstance(n, Tensor)]
    if any(not cmath.isfinite(n) for n in numbers if not isinstance(n, Tensor)):
        return True
    if not tensors:
        return False
    device = tensors[0].device
    return not bool(torch.stack([torch.isfinite(t).all().to(device) for t in tensors]).all())


def is_nan(number: Any) -> bool:
    """Whether a loss is no number at all."""
    return bool(torch.isnan(number).any()) if isinstance(number, Tensor) else cmath.isnan(number)


def agreed(bad: bool, models: Sequence[torch.nn.Module]) -> bool:
    """Whether it is so in any of the processes that train a model together: each of them asks at each of its steps."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return bad
    together = [m for m in models if isinstance(m, torch.nn.parallel.DistributedDataParallel)]
    if not together:
        return bad
    flag = torch.tensor([float(bad)], device=next(together[0].parameters()).device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=together[0].process_group)
    return bool(flag.item())


def reason_against(capture: Capture, names: Names) -> str:
    """Why a step cannot be run again; "" where it can."""
    tape = capture.tape
    if tape.lost:
        return tape.lost
    if not tape.passes or not any(c.is_model for c in tape.calls):
        return "no call of a model that was seen led to it, so it could not be run again"
    whole = [root for root, _ in names.roots.values()] + models_of(tape)
    return "its weights are sharded over processes: it was not run again" if is_sharded(whole) else ""


def told(objective: Objective, origin: Origin | None) -> str:
    """What NonFiniteError says."""
    if origin is None:
        return f"step {objective.step}: the loss or a gradient is not finite"
    where = f" in {origin.module!r} ({origin.module_class})" if origin.module else ""
    at = f" at {origin.source}" if origin.source else ""
    why = f": {origin.reason}" if origin.reason else ""
    return f"step {objective.step}: {origin}{where}{at}{why}"
