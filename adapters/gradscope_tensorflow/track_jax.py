"""Track: one Keras optimizer on JAX: what its steps hand to the host, and the rows that the host makes of it."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradscope.row import Row, write
from gradscope.scope import Scope

from gradscope_tensorflow.measure_jax import ABSENT, norms_of, parameter_statistics
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.objective import Objective, clipping

MOST_WAITING = 1024
"""Calls whose numbers are kept before they are written, where nobody asks for them earlier."""


@dataclass(slots=True)
class Call:
    """What one call of an optimizer brought. ends: it made a step; full: parameters were measured, shape (n, 8)."""

    norms: Any
    rate: float
    scale: float
    skipped: bool
    ends: bool
    full: bool
    parameters: Any


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
        self.losses: list[float] = []
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
        jax.debug.callback(self._arrived, *numbers)

    # -- on the host -----------------------------------------------------------------------------------------------

    def _arrived(self, norms: Any, rate: Any, scale: Any, skipped: Any, ends: Any, full: Any, parameters: Any) -> None:
        call = Call(np.asarray(norms), float(rate), float(scale), bool(skipped), bool(ends), bool(full), parameters)
        with self._lock:
            self._calls.append(call)
        if len(self._calls) >= MOST_WAITING:
            self.drain()

    def loss_arrived(self, loss: Any) -> None:
        """The loss of a call."""
        self.losses.append(float(np.mean(loss)))

    @property
    def waiting(self) -> int:
        """How many calls are not written yet."""
        return len(self._calls)

    def drain(self) -> None:
        """Writes the steps that arrived in whole."""
        with self._lock:
            calls, losses = self._calls, self.losses
            ends = [at for at, c in enumerate(calls) if c.ends]
            if not ends:
                return
            known = losses if len(losses) >= len(calls) else [math.nan] * len(calls)
            rows, start = [], 0
            for end in ends:
                rows.append(self._row(calls[end], known[start : end + 1]))
                start = end + 1
            self._calls, self.losses = calls[start:], losses[start:]
            write(self.objective.history, rows)

    def _row(self, call: Call, losses: list[float]) -> Row:
        parameters = self.objective.parameters
        held = [next(at for at, p in enumerate(parameters) if p is v) for v in self.variables]
        norms = call.norms.astype("f8").tolist()
        present = [(at, norm) for at, norm in zip(held, norms, strict=True) if norm != ABSENT]
        row = Row(self.objective.step, len(parameters), [at for at, _ in present], [], [n for _, n in present])
        row.losses = [(loss, None) for loss in losses if not math.isnan(loss) or len(self.losses)]
        row.values = {
            "learning_rate": call.rate,
            "skipped": call.skipped,
            "loss_scale": call.scale,
            "backward_passes": len(losses),
        }
        row.values["clip_before"], row.values["clip_limit"] = clipping(self.optimizer, row.norms, [])
        if call.full and not call.skipped:
            row.parameters = np.full((row.width, 8), math.nan)
            row.parameters[held] = call.parameters
        self.objective.step += 1
        return row
