"""Track: one Keras optimizer on JAX: what its steps hand to the host, and the rows that the host makes of it."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradscope.guard import guarded
from gradscope.row import Row, write
from gradscope.scope import Scope

from gradscope_tensorflow.measure_jax import ABSENT, norms_of, parameter_statistics
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.objective import Objective, clipping

MOST_WAITING = 4096
"""Calls whose numbers are kept until they are written; of more the oldest are let go."""
LOST = "steps that nobody read for long were let go: ask for a report more often than every 4096 steps"


@dataclass(slots=True)
class Call:
    """What one call of an optimizer brought. ends: it made a step; full: parameters were measured, shape (n, 8).

    count: how many steps the optimizer had made before; None when that is not known. loss: None until it is known.
    """

    norms: Any
    rate: float
    scale: float
    skipped: bool
    ends: bool
    full: bool
    parameters: Any
    count: int | None = None
    loss: float | None = None


class Track:
    """The objective of one optimizer, and what arrived of it."""

    def __init__(self, scope: Scope, optimizer: Any, names: Names, name: str, settings: dict[str, Any]):
        variables = list(optimizer._trainable_variables)
        kind = type(optimizer).__name__
        history = scope.new_history(name, framework="tensorflow", optimizer=kind, settings=settings)
        self.optimizer = optimizer
        self.variables = variables
        self.objective = Objective(optimizer, history, names)
        self.objective.survey(variables, set())
        self.scope = scope
        self.tells_loss = False
        """Whether a program was traced that brings the losses."""
        self.losses: dict[int | None, list[float]] = {}
        self._arrive = guarded("numbers from JAX", scope.failures, self._arrived)
        self.loss_arrived = guarded("numbers from JAX", scope.failures, self._loss_arrived)
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    # -- while a step is traced ------------------------------------------------------------------------------------

    def given(self, gradients: list[Any]) -> list[Any]:
        """The gradients that the optimizer will use at the end of a step, in the order of the variables."""
        many, factor = getattr(self.optimizer, "gradient_accumulation_steps", None), self.optimizer.loss_scale_factor
        if factor is not None:
            gradients = [g if g is None else g / factor for g in gradients]
        if not many:
            return gradients
        kept = [self.optimizer._accumulated_gradients[self.optimizer._get_variable_index(v)] for v in self.variables]
        pairs = zip(gradients, kept, strict=True)
        return [g if g is None or k is None else (g + k.value) / many for g, k in pairs]

    def emit(self, gradients: list[Any], before: list[Any], after: list[Any], scale: Any, skipped: bool) -> None:
        """Adds to the program a callback that brings the numbers of this call."""
        # the compiler is not to merge what is measured with what trains: that would change the last bits
        gradients, before, after = jax.lax.optimization_barrier((gradients, before, after))
        count = jnp.asarray(self.optimizer._iterations.value) - (0 if skipped else 1)
        many = getattr(self.optimizer, "gradient_accumulation_steps", None) or 1
        step, ends = count // many, (count + 1) % many == 0
        full = ends & jnp.where(step > 64, step % 100 == 0, (step & (step - 1)) == 0)

        def measured() -> Any:
            return jnp.stack([parameter_statistics(*x) for x in zip(gradients, before, after, strict=True)])

        shape = (len(gradients), 8)
        parameters = jnp.zeros(shape) if skipped else jax.lax.cond(full, measured, lambda: jnp.zeros(shape))
        rate = self.optimizer.learning_rate
        rate = rate.value if hasattr(rate, "value") else rate
        numbers = [norms_of(gradients), rate, scale, jnp.asarray(skipped), ends | skipped, full, parameters]
        jax.debug.callback(self._arrive, *numbers, count)

    def emit_loss(self, loss: Any, count: Any) -> None:
        """Adds to the program a callback that brings the loss of a call. count: as of Call."""
        self.tells_loss = True
        jax.debug.callback(self.loss_arrived, loss, count)

    # -- on the host -----------------------------------------------------------------------------------------------

    def _arrived(
        self,
        norms: Any,
        rate: Any,
        scale: Any,
        skipped: Any,
        ends: Any,
        full: Any,
        parameters: Any,
        count: Any = None,
    ) -> None:
        numbers = (np.asarray(norms), float(rate), float(scale), bool(skipped), bool(ends), bool(full))
        call = Call(*numbers, np.asarray(parameters), None if count is None else int(count))
        with self._lock:
            self._calls.append(call)
            if len(self._calls) > MOST_WAITING:
                self._let_go(self._calls.pop(0))

    def _let_go(self, call: Call) -> None:
        self.scope.limits.setdefault("steps", LOST)
        self._find_loss(call)
        self.objective.step += call.ends

    def _loss_arrived(self, loss: Any, count: Any = None) -> None:
        key, value = None if count is None else int(count), float(np.mean(loss))
        with self._lock:
            known = self.losses.setdefault(key, [])
            known.append(value)
            del known[:-MOST_WAITING]

    def _find_loss(self, call: Call) -> None:
        """Gives a call its loss, if that has arrived."""
        for key in (call.count, None) if call.loss is None else ():
            known = self.losses.get(key)
            if known:
                call.loss = known.pop(0)
                if not known:
                    del self.losses[key]
                return

    @property
    def waiting(self) -> int:
        """How many calls are not written yet."""
        return len(self._calls)

    def drain(self, *, whole: bool = False) -> None:
        """Writes the steps that arrived in whole. whole: nothing is on its way, so what is missing will not come."""
        with self._lock:
            calls, ready = self._calls, 0
            if whole and len(self.losses.get(None, ())) != sum(c.loss is None for c in calls):
                self.losses.pop(None, None)  # which call each belongs to is not known
            for call in calls:
                self._find_loss(call)
                if call.loss is None and self.tells_loss and not whole:
                    break
                ready += 1
            rows, start = [], 0
            for end in [at for at in range(ready) if calls[at].ends]:
                rows.append(self._row(calls[start : end + 1]))
                start = end + 1
            self._calls = calls[start:]
            if whole:
                self.losses = {}
            write(self.objective.history, rows)

    def _row(self, calls: list[Call]) -> Row:
        """The row of a step. calls: those that made it; the last one has its gradients."""
        call, parameters = calls[-1], self.objective.parameters
        losses = [c.loss for c in calls if c.loss is not None]
        held = [next(at for at, p in enumerate(parameters) if p is v) for v in self.variables]
        norms = call.norms.astype("f8").tolist()
        present = [(at, norm) for at, norm in zip(held, norms, strict=True) if norm != ABSENT]
        row = Row(self.objective.step, len(parameters), [at for at, _ in present], [], [n for _, n in present])
        row.losses = [(loss, None) for loss in losses] if len(losses) == len(calls) else []
        row.values = {
            "learning_rate": call.rate,
            "skipped": call.skipped,
            "loss_scale": call.scale,
            "backward_passes": len(calls),
        }
        row.values["clip_before"], row.values["clip_limit"] = clipping(self.optimizer, row.norms, [])
        if call.full and not call.skipped:
            row.parameters = np.full((row.width, 8), math.nan)
            row.parameters[held] = call.parameters
        self.objective.step += 1
        return row
