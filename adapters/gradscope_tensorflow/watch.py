"""watch(model, optimizer) for Keras: statistics are reduced inside the graph, and read by the host a few steps later.

Nothing runs eagerly for it. The optimizer's step, wherever it is traced, writes one row of gradient norms and the loss
into a small variable; the host reads that variable when it is full, and at every report.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from gradscope import statistics
from gradscope.errors import CannotJudge, UsageError
from gradscope.guard import guarded
from gradscope.row import Row, write
from gradscope.schedule import sparse_schedule
from gradscope.scope import Scope
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from keras.src.optimizers.base_optimizer import BaseOptimizer

from gradscope_tensorflow.names import Names
from gradscope_tensorflow.objective import Objective
from gradscope_tensorflow.patches import Patches
from gradscope_tensorflow.recorder import described
from gradscope_tensorflow.source import Sources

ROWS = 64
"""Steps that may pass before the host reads what the graph wrote."""
UNREAD = 3
"""Columns of a row before its norms: the number of the step, the loss, the rate."""


class Ring:
    """The variable that the steps of one optimizer write into, one row each."""

    def __init__(self, variables: list[Any]):
        self.variables = variables
        self.columns = {id(v): UNREAD + at for at, v in enumerate(variables)}
        self.read = 0
        with tf.init_scope():
            self.cells = tf.Variable(tf.fill([ROWS, UNREAD + len(variables)], -1.0), trainable=False)

    def write(self, step: Any, loss: Any, rate: Any, gradients: dict[int, Any]) -> None:
        """Part of the graph of a step: writes its row."""
        head = [tf.cast(step, tf.float32), tf.cast(loss, tf.float32), tf.cast(rate, tf.float32)]
        row = tf.stack([*head, *(norm_of(gradients.get(id(v))) for v in self.variables)])
        self.cells.scatter_nd_update([[tf.cast(step, tf.int32) % ROWS]], [row])

    def unread(self) -> list[Any]:
        """The rows that came since the last call, in their order."""
        cells = self.cells.numpy()
        fresh = sorted((r for r in cells if r[0] >= self.read), key=lambda r: r[0])
        if fresh:
            self.read = int(fresh[-1][0]) + 1
        return fresh


class Watch:
    """Wrappers that close() takes away; a model that was traced before is traced anew."""

    def __init__(self, scope: Scope, model: Any, optimizer: Any):
        models = list(model) if isinstance(model, list | tuple) else [model]
        given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer] if optimizer else []
        self.scope = scope
        self.models = models
        self.optimizers = given or [m.optimizer for m in models if getattr(m, "optimizer", None) is not None]
        check_arguments(models, self.optimizers)
        self.names = Names(Sources())
        for one in models:
            self.names.add_root(one)
        self.optimizers += [o.inner_optimizer for o in self.optimizers if hasattr(o, "inner_optimizer")]
        self.objectives: dict[int, Objective] = {}
        self.rings: dict[int, Ring] = {}
        self._loss: Any = None
        self._before: dict[int, Any] = {}
        self._began = 0
        self._apply = guarded("keras optimizers", scope.failures, self._write)
        self._begin = guarded("keras fit", scope.failures, self._begins)
        self._end = guarded("keras fit", scope.failures, self._ended)
        scope.limits["activations"] = "the model runs as a graph: its layers are seen by `gradscope check` only"
        self.patches = Patches()
        self.patches.wrap(BaseOptimizer, "apply", self._wrap_apply)
        self.patches.wrap(tf.GradientTape, "gradient", self._wrap_gradient)
        self.patches.wrap(TensorFlowTrainer, "make_train_function", self._wrap_train_function)
        self._trace_anew()

    def _trace_anew(self) -> None:
        for model in self.models:
            if getattr(model, "train_function", None) is not None:
                model.train_function = None

    # -- in the graph ----------------------------------------------------------------------------------------------

    def _wrap_gradient(self, original: Any) -> Any:
        def gradient(tape: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            self._loss = target
            return original(tape, target, *args, **kwargs)

        return gradient

    def _wrap_apply(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if not any(optimizer is o for o in self.optimizers):
                return original(optimizer, grads, trainable_variables)
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            self._apply(optimizer, gradients, variables)
            return original(optimizer, gradients, variables)

        return apply

    def _write(self, optimizer: Any, gradients: list[Any], variables: list[Any] | None) -> None:
        held = variables if variables is not None else list(optimizer._trainable_variables)
        if id(optimizer) not in self.rings:
            with tf.init_scope():
                self._add(optimizer, held)
        loss = self._loss if is_scalar(self._loss) else math.nan
        scale = next((o.dynamic_scale for o in self.optimizers if getattr(o, "inner_optimizer", None) is optimizer), 1)
        by_variable = {id(v): g for v, g in zip(held, gradients, strict=False)}
        step = tf.convert_to_tensor(optimizer.iterations)
        rate = tf.convert_to_tensor(optimizer.learning_rate)
        self.rings[id(optimizer)].write(step, loss / scale, rate, by_variable)
        if tf.executing_eagerly():
            self._loss = None
            if int(step) - self.rings[id(optimizer)].read >= ROWS - 1:
                self.flush()

    def _add(self, optimizer: Any, variables: list[Any]) -> None:
        kind = type(optimizer).__name__
        name = f"{kind} {len(self.objectives) + 1}"
        history = self.scope.new_history(name, framework="tensorflow", optimizer=kind, settings=described(optimizer))
        objective = Objective(optimizer, history, self.names)
        self.names.refresh()
        objective.survey(variables, set())
        self.objectives[id(optimizer)] = objective
        self.rings[id(optimizer)] = Ring(objective.parameters)

    # -- on the host -----------------------------------------------------------------------------------------------

    def _wrap_train_function(self, original: Any) -> Any:
        def make_train_function(model: Any, *args: Any, **kwargs: Any) -> Any:
            known = model.train_function
            original(model, *args, **kwargs)
            if model.train_function is known or not any(model is m for m in self.models):
                return
            step = model.train_function

            def train_function(iterator: Any) -> Any:
                self._begin(model)
                result = step(iterator)
                self._end(model)
                return result

            model.train_function = train_function

        return make_train_function

    def _begins(self, model: Any) -> None:
        """One call of the train function, often one step, begins."""
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        objective = self.objectives.get(id(optimizer))
        if not sparse_schedule(objective.step if objective is not None else 0):
            return
        self._began = int(optimizer.iterations)
        self._before = {id(v): v.numpy() for v in model.trainable_variables}

    def _ended(self, model: Any) -> None:
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        objective = self.objectives.get(id(optimizer))
        if objective is None:
            return
        objective.step += 1
        before, self._before = self._before, {}
        if not before and objective.step % (ROWS // 2):
            return
        now = int(optimizer.iterations)
        if before and now == self._began + 1:
            moved = [changes(before.get(id(v)), v) for v in objective.parameters]
            self._drain(optimizer, {self._began: np.array(moved)})
        elif now - self.rings[id(optimizer)].read >= ROWS // 2:
            self._drain(optimizer, {})

    def _drain(self, optimizer: Any, parameters: dict[int, Any]) -> None:
        ring, objective = self.rings[id(optimizer)], self.objectives[id(optimizer)]
        rows = []
        for cells in ring.unread():
            step = int(cells[0])
            norms = cells[UNREAD:]
            present = np.flatnonzero(norms != ABSENT).tolist()
            row = Row(step, len(norms), present, [], norms[present])
            row.losses = [] if math.isnan(cells[1]) and self._unknown_loss else [(float(cells[1]), None)]
            row.values = {"learning_rate": float(cells[2]), "skipped": 0, "backward_passes": 1}
            row.parameters = parameters.get(step)
            rows.append(row)
        write(objective.history, rows)

    @property
    def _unknown_loss(self) -> bool:
        return not is_scalar(self._loss)

    def flush(self) -> None:
        """Reads what the graphs wrote."""
        for optimizer in self.optimizers:
            if id(optimizer) in self.rings:
                self._drain(optimizer, {})

    def refresh(self) -> None:
        """Reads what the graphs wrote."""
        self.flush()

    def close(self) -> None:
        """Puts everything back; the model is traced anew without gradscope."""
        self.flush()
        self.patches.close()
        self._trace_anew()


ABSENT = -1.0
"""Stands in a row for the norm of a gradient that is None."""


def norm_of(gradient: Any) -> Any:
    """The L2 norm of a gradient, summed in float32 at least, scaled so that it does not overflow; ABSENT for None."""
    if gradient is None:
        return tf.constant(ABSENT)
    if isinstance(gradient, tf.IndexedSlices):
        indices, places = tf.unique(gradient.indices)
        gradient = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(indices))
    values = tf.cast(gradient, tf.float32)
    norm = tf.norm(values)
    top = tf.reduce_max(tf.abs(values))
    return tf.cond(
        tf.logical_and(tf.math.is_finite(norm), norm > 1e-18),
        lambda: norm,
        lambda: tf.where(top > 0, top * tf.norm(values / tf.where(top > 0, top, 1.0)), top),
    )


def changes(before: Any, variable: Any) -> list[float]:
    """What a step did to a variable, as PARAMETER_QUANTITIES; the gradient's own details are not known."""
    after = variable.numpy()
    if before is None:
        return [math.nan] * 8
    moved, share = statistics.parameter_change(before, after)
    details = [statistics.l2_norm(before), statistics.deviation(before), moved, share]
    return [math.nan, math.nan, math.nan, *details, statistics.nonfinite_count(after)]


def is_scalar(value: Any) -> bool:
    """Whether it is a tensor of one number."""
    return tf.is_tensor(value) and value.shape.num_elements() == 1 and value.dtype.is_floating


def check_arguments(models: list[Any], optimizers: list[Any]) -> None:
    """Raises UsageError for what is no model or optimizer, CannotJudge for a model that has nothing to train."""
    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"watch(): Keras runs on {keras.backend.backend()}; so far it is watched on tensorflow")
    for model in models:
        if not isinstance(model, keras.Layer):
            raise UsageError(f"watch(): expected a keras.Model, got {type(model).__name__} {model!r:.80}")
    for optimizer in optimizers:
        if not isinstance(optimizer, keras.Optimizer):
            raise UsageError(f"watch(): expected a keras.Optimizer, got {type(optimizer).__name__}")
    if not optimizers:
        raise UsageError("watch(): the model has no optimizer yet; call it after compile(), or hand it the optimizer")
    if all(m.built and not m.trainable_variables for m in models):
        kinds = ", ".join(type(m).__name__ for m in models)
        raise CannotJudge(f"watch(): {kinds} has no weight that is trained; there is nothing to judge")
