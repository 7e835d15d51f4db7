"""Track: one optimizer under watch: what its steps write, in a graph or eagerly, and what the host makes of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from gradscope import statistics
from gradscope.row import Row, write
from gradscope.scope import Scope

from gradscope_tensorflow.losses import underlying
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.objective import Objective, clipping, dense, details
from gradscope_tensorflow.origin import origin_of
from gradscope_tensorflow.recorder import described
from gradscope_tensorflow.ring import ABSENT, HEAD, Head, Ring, head_of, norms_of, values_of, widest
from gradscope_tensorflow.witness import Seen, Witness


class Track:
    """The objective, the ring and the notes of one optimizer."""

    def __init__(self, scope: Scope, optimizer: Any, names: Names, variables: list[Any], rows: int, witness: Witness):
        self.scope = scope
        self.witness = witness
        self.keys = {underlying(v) for v in variables}
        self.optimizer = optimizer
        self.variables = variables
        kind = type(optimizer).__name__
        name = f"{kind} {len(scope.histories) + 1}"
        history = scope.new_history(name, framework="tensorflow", optimizer=kind, settings=described(optimizer))
        self.objective = Objective(optimizer, history, names)
        self.objective.survey(variables, set())
        self.ring = Ring(self.objective.parameters, rows, witness.hand_over(self.keys))
        witness.follow(self.keys, self.ring.count)

    @property
    def calls(self) -> int:
        """How many calls of the optimizer make one step."""
        return getattr(self.optimizer, "gradient_accumulation_steps", None) or 1

    # -- in the graph ----------------------------------------------------------------------------------------------

    def write(self, gradients: dict[int, Any], loss: Any, scale: Any, skipped: bool) -> tuple[Any, Any]:
        """Part of the graph of a step: writes its row. Gives (number of the step, whether it is the first of the calls
        that make a step).

        gradients: by the id of the variable. scale: what the loss was multiplied by for its gradients; those of a
        skipped step still are.
        """
        optimizer = self.optimizer
        found = [gradients.get(id(v)) for v in self.objective.parameters[: self.ring.width]]
        factor = getattr(optimizer, "loss_scale_factor", None)
        if skipped:
            factor = scale
        part, first = None, tf.constant(True)
        many = getattr(optimizer, "gradient_accumulation_steps", None)
        if many:
            found = [g if g is None else self._accumulated(v, g) for v, g in zip(self._columns(), found, strict=True)]
            which = tf.math.floormod(tf.convert_to_tensor(optimizer._iterations), many)
            part, first, factor = (which, many), tf.equal(which, 0), (factor or 1.0) * many
        norms = norms_of(found)
        if factor is not None:
            norms = tf.where(tf.equal(norms, ABSENT), norms, norms / tf.cast(factor, norms.dtype))
        known = scale if scale is not None else getattr(optimizer, "loss_scale_factor", None)
        head = Head(
            math.nan if loss is None else mean(loss),
            tf.convert_to_tensor(optimizer.learning_rate),
            float(skipped),
            math.nan if known is None else known,
            self._clipped(found, factor),
            float(loss is not None),
        )
        return self.ring.write(head, norms, part), first

    def _columns(self) -> list[Any]:
        return self.objective.parameters[: self.ring.width]

    def _accumulated(self, variable: Any, gradient: Any) -> Any:
        """The sum of the gradients since the last step."""
        at = self.optimizer._trainable_variables_indices.get(self.optimizer._var_key(variable))
        kept = None if at is None or not self.optimizer.built else self.optimizer._accumulated_gradients[at]
        return gradient if kept is None else tf.convert_to_tensor(gradient) + tf.convert_to_tensor(kept)

    def _clipped(self, gradients: list[Any], factor: Any) -> Any:
        """The norm that clipping by value leaves; NaN where the optimizer does not clip so."""
        limit = getattr(self.optimizer, "clipvalue", None)
        arrays = [values_of(g, self.ring.kind) for g in gradients if g is not None]
        if not limit or not arrays:
            return math.nan
        given = [a if factor is None else a / tf.cast(factor, a.dtype) for a in arrays]
        return tf.linalg.global_norm([tf.clip_by_value(a, -limit, limit) for a in given])

    # -- on the host -----------------------------------------------------------------------------------------------

    def weights(self) -> dict[int, Any]:
        """The values of all variables, by their ids."""
        return {id(v): v.numpy() for v in self.objective.parameters}

    def moved(self, before: dict[int, Any], gradients: dict[int, Any] | None = None) -> Any:
        """What a step did, as PARAMETER_QUANTITIES of every column, shape (width, 8)."""
        given = gradients or {}
        return np.array([changes(before.get(id(v)), v, given.get(id(v))) for v in self._columns()]).reshape(-1, 8)

    def drain(self, parameters: dict[int, Any] | None = None) -> None:
        """Writes what came since the last call into the history. parameters: what moved(), by the step."""
        unread = self.ring.unread()
        seen = self.witness.take(self.keys, self.ring.read)
        rows = [self._row(step, cells, seen) for step, cells in unread]
        for row in rows:
            row.parameters = (parameters or {}).get(row.step)
        write(self.objective.history, rows)
        for row in rows:
            self._look_for_accident(row)
        if rows:
            self.objective.step = rows[-1].step + 1

    def _look_for_accident(self, row: Row) -> None:
        """On the first step that is not finite: where that began."""
        history = self.objective.history
        loss = row.losses[0][0] if row.losses else 0.0
        if math.isfinite(loss) and np.isfinite(row.norms).all():
            return
        if row.values["skipped"]:
            self.witness.again(self.keys)
        elif "origin" not in history.facts and (row.notes or math.isfinite(loss)):
            history.facts["origin"] = origin_of(history, row.step, row.notes, row.norms, row.present)

    def _row(self, step: int, cells: Any, seen: Seen) -> Row:
        head, norms = head_of(cells), cells[len(HEAD) :]
        present = np.flatnonzero(norms != ABSENT).tolist()
        trainable = [bool(getattr(v, "trainable", True)) for v in self._columns()]
        frozen = [at for at, free in enumerate(trainable) if norms[at] == ABSENT and not free]
        row = Row(step, len(norms), present, frozen, norms[present])
        row.losses = [(head["loss"], None)] if head["known"] else self._logged()
        row.values = {
            "learning_rate": head["rate"],
            "skipped": head["skipped"],
            "loss_scale": head["scale"],
            "backward_passes": getattr(self.optimizer, "gradient_accumulation_steps", None) or 1,
        }
        limit = head["clip_limit"]
        if math.isnan(limit):
            row.values["clip_before"], row.values["clip_limit"] = clipping(self.optimizer, row.norms.tolist(), [])
        else:
            row.values |= {"clip_before": math.hypot(*row.norms.tolist()), "clip_limit": limit}
        row.notes, row.classes = seen.get(step, ([], []))
        return row

    def _logged(self) -> list[tuple[Any, Any]]:
        logged = self.scope.take_logged()
        return [] if logged is None else [(logged, None)]


def mean(loss: Any) -> Any:
    """The mean of a loss, in float32 at least."""
    return tf.reduce_mean(tf.cast(loss, widest([loss.dtype])))


def changes(before: Any, variable: Any, gradient: Any = None) -> list[float]:
    """What a step did to a variable, as PARAMETER_QUANTITIES; of the gradient's details NaN where it is not given."""
    found = [math.nan] * 3
    values = dense(gradient)
    if values is not None:
        found = details(values, math.prod(variable.shape))
    if before is None:
        return [*found, *[math.nan] * 5]
    after = variable.numpy()
    moved, share = statistics.parameter_change(before, after)
    norms = [statistics.l2_norm(before), statistics.deviation(before), moved, share]
    return [*found, *norms, statistics.nonfinite_count(after)]
