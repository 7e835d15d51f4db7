"""watch(model, optimizer) for Keras on TensorFlow: the same for graphs and for eager loops, and nothing runs eagerly
for it.

The optimizer's step, wherever it is traced, writes one row of gradient norms and the loss into a small variable, which
the host reads when it is nearly full, and at every report. On the steps of the sparse schedule, and on the first that
is not finite, the same step hands the tensors of its forward pass to the host.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from gradscope.guard import guarded
from gradscope.patches import Patches
from gradscope.scope import Scope
from keras.src.optimizers.base_optimizer import BaseOptimizer
from tensorflow.python.eager.polymorphic_function.polymorphic_function import Function

from gradscope_tensorflow import functions
from gradscope_tensorflow.arguments import check_arguments
from gradscope_tensorflow.events import Events, is_tensor
from gradscope_tensorflow.forward import Forward
from gradscope_tensorflow.losses import Losses, underlying
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.reading import Reading
from gradscope_tensorflow.ring import ROWS
from gradscope_tensorflow.source import Sources
from gradscope_tensorflow.track import Track
from gradscope_tensorflow.witness import Witness

OPEN: list[Any] = []
"""The watches that are not closed, the latest last."""


class Watch:
    """Wrappers that close() takes away; a model that was traced before is traced anew.

    Without a model every optimizer counts whose variables a tape of this scope differentiated for.
    """

    def __init__(self, scope: Scope, model: Any = None, optimizer: Any = None):
        self.models = [] if model is None else list(model) if isinstance(model, list | tuple) else [model]
        given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer] if optimizer else []
        self.scope = scope
        self.optimizers = given or [m.optimizer for m in self.models if getattr(m, "optimizer", None) is not None]
        if model is not None:
            check_arguments(self.models, self.optimizers)
        self.scalers = [o for o in self.optimizers if hasattr(o, "inner_optimizer")]
        self.optimizers += [o.inner_optimizer for o in self.scalers]
        self.names = Names(Sources())
        for one in self.models:
            self.names.add_root(one)
        self.forward = Forward(self.names, is_tensor)
        self.forward.active = True
        self.events = Events(self.forward)
        self.losses = Losses()
        self.witness = Witness(scope, self.events)
        self.tracks: dict[int, Track] = {}
        self.reading = Reading(self.models, self.tracks, scope.failures)
        self.closed = False
        self._scaled: dict[int, tuple[list[Any], list[Any] | None]] = {}
        self._guard()
        self.patches = Patches(**functions.AS_IT_IS)
        self._install()
        self._trace_anew()
        OPEN.append(self)

    def _guard(self) -> None:
        failures = self.scope.failures
        self._apply = guarded("keras optimizers", failures, self._write)
        self._eager_ended = guarded("keras optimizers", failures, self.reading.step_ended)
        self._drain = guarded("history", failures, self._drain_all)
        self._rename = guarded("keras names", failures, self._renamed)
        self._enter = guarded("keras layers", failures, self._layer_begins)
        self._leave = guarded("keras layers", failures, self.events.left)
        self._look = guarded("forward pass", failures, self._look_at)
        self._differentiated = guarded("tf.GradientTape", failures, self.losses.differentiated)

    def _install(self) -> None:
        wrap = self.patches.wrap
        wrap(BaseOptimizer, "apply", self._wrap_apply)
        if self.scalers or not self.models:
            wrap(keras.optimizers.LossScaleOptimizer, "_common_apply", self._wrap_scaled)
            wrap(keras.optimizers.LossScaleOptimizer, "_stateful_handle_non_finite_grads", self._wrap_overflow)
        wrap(BaseOptimizer, "scale_loss", self._wrap_scale)
        wrap(keras.optimizers.LossScaleOptimizer, "scale_loss", self._wrap_scale)
        wrap(tf.GradientTape, "__enter__", self._wrap_tape_enters)
        wrap(tf.GradientTape, "__exit__", self._wrap_tape_exits)
        wrap(tf.GradientTape, "gradient", self._wrap_gradient)
        wrap(Function, "__call__", self.reading.wrap_function)
        wrap(keras.Layer, "__call__", self._wrap_layer)
        note = guarded("keras functions", self.scope.failures, self.events.note)
        functions.install(self.patches, self.forward, note)

    def _trace_anew(self) -> None:
        for model in self.models:
            if getattr(model, "train_function", None) is not None:
                model.make_train_function(force=True)

    # -- the forward pass ------------------------------------------------------------------------------------------

    def _wrap_layer(self, original: Any) -> Any:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if self.closed or not self.forward.tapes or not self._concerns(layer):
                return original(layer, *args, **kwargs)
            given = args or tuple(kwargs.values())
            self._enter(layer, given)
            output = None
            try:
                output = original(layer, *args, **kwargs)
                return output
            finally:
                self._leave(layer, given, output)

        return call

    def _concerns(self, layer: Any) -> bool:
        return bool(self.forward.stack) or not self.models or self.names.known(layer)

    def _layer_begins(self, layer: Any, args: Any) -> None:
        if not self.forward.stack:
            if self.events.spent:
                self.events.clear()
            if not self.names.known(layer):
                self.names.add_root(layer)
        self.events.entered(layer, args)

    def _wrap_tape_enters(self, original: Any) -> Any:
        def enter(tape: Any) -> Any:
            self.forward.tapes += 1
            return original(tape)

        return enter

    def _wrap_tape_exits(self, original: Any) -> Any:
        def leave(tape: Any, *args: Any) -> Any:
            self.forward.tapes = max(0, self.forward.tapes - 1)
            return original(tape, *args)

        return leave

    def _wrap_gradient(self, original: Any) -> Any:
        def gradient(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            scope = getattr(tape, "scope", None)
            if scope is None or scope is self.scope:
                self._differentiated(target, sources, mine=scope is self.scope)
                if not self.forward.tapes:  # inside another tape it is a penalty's gradient, no step's
                    self._look(sources)
            return original(tape, target, sources, *args, **kwargs)

        return gradient

    def _look_at(self, sources: Any) -> None:
        """The forward pass is over, and its gradients are about to be computed."""
        held = [v for v in tf.nest.flatten(sources) if not is_tensor(v)]
        trained = {underlying(v) for m in self.models for v in m.trainable_variables} or self.losses.mine
        if self.closed or not held or underlying(held[0]) not in trained:
            return
        self.witness.look(underlying(held[0]), self.losses.of(held))
        self.events.spent = True
        if tf.executing_eagerly() and len(self.witness.looks) < 2:
            self.events.clear()

    def tape(self, **options: Any) -> Any:
        """A tf.GradientTape whose gradients belong to this scope."""
        from gradscope_tensorflow.tape import GradientTape

        return GradientTape(scope=self.scope, **options)

    # -- an optimizer's step ---------------------------------------------------------------------------------------

    def _wrap_apply(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            if not gradients or not self._is_ours(optimizer, variables):
                return original(optimizer, gradients, variables)
            self._apply(optimizer, gradients, variables)
            result = original(optimizer, gradients, variables)
            if tf.executing_eagerly():
                self._eager_ended(optimizer, gradients, variables)
            return result

        return apply

    def _is_ours(self, optimizer: Any, variables: list[Any] | None) -> bool:
        if self.closed or hasattr(optimizer, "inner_optimizer"):
            return False
        if any(optimizer is o for o in self.optimizers):
            return True
        held = variables if variables is not None else list(optimizer._trainable_variables)
        return not self.models and any(underlying(v) in self.losses.mine for v in held)

    def _wrap_scale(self, original: Any) -> Any:
        def scale_loss(optimizer: Any, loss: Any) -> Any:
            result = original(optimizer, loss)
            if result is not loss:
                self.losses.scaled(loss, result)
            return result

        return scale_loss

    def _wrap_scaled(self, original: Any) -> Any:
        def common_apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            self._scaled[id(optimizer)] = (list(grads), trainable_variables and list(trainable_variables))
            try:
                return original(optimizer, grads, trainable_variables)
            finally:
                self._scaled.pop(id(optimizer), None)

        return common_apply

    def _wrap_overflow(self, original: Any) -> Any:
        def handle(optimizer: Any) -> Any:
            gradients, variables = self._scaled.get(id(optimizer), ([], None))
            if gradients and self._is_ours(optimizer.inner_optimizer, variables):
                self._apply(optimizer.inner_optimizer, gradients, variables, scaler=optimizer)
            return original(optimizer)

        return handle

    def _write(self, optimizer: Any, gradients: list[Any], variables: list[Any] | None, scaler: Any = None) -> None:
        """Writes the row of a step. scaler: the LossScaleOptimizer that lets this step go."""
        if tf.distribute.has_strategy():
            raise NotImplementedError(
                "steps under a tf.distribute strategy are not watched; `gradscope check` sees one replica"
            )
        held = variables if variables is not None else list(optimizer._trainable_variables)
        track = self._track(optimizer, held)
        outer = scaler or next((o for o in self.scalers if o.inner_optimizer is optimizer), None)
        scale = None if outer is None else tf.convert_to_tensor(outer.dynamic_scale)
        loss = self.losses.take(held)
        by_variable = {id(v): g for v, g in zip(held, gradients, strict=False)}
        step, first = track.write(by_variable, loss, scale, skipped=scaler is not None)
        if tf.executing_eagerly():
            self.reading.step_begins(track, int(step), bool(first))

    def _track(self, optimizer: Any, held: list[Any]) -> Track:
        track = self.tracks.get(id(optimizer))
        if track is None:
            with tf.init_scope():
                self.names.refresh()
                many = [getattr(m, "steps_per_execution", 1) or 1 for m in self.models]
                rows = max(ROWS, 2 * max(many, default=1))
                track = Track(self.scope, optimizer, self.names, held, rows, self.witness)
                self.tracks[id(optimizer)] = track
                self._survey()
        return track

    def _survey(self) -> None:
        """Tells every objective which variables are another's."""
        for one in self.tracks.values():
            others = [o for o in self.tracks.values() if o is not one]
            one.objective.survey([], {id(v) for o in others for v in o.variables})

    # -- on the host -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Reads what the graphs wrote."""
        self._drain()

    def _drain_all(self) -> None:
        for track in self.tracks.values():
            track.drain()
            track.objective.history.facts["called"] = sorted(self.forward.called)

    def refresh(self) -> None:
        """Reads what the graphs wrote, and gives everything its final name."""
        self.flush()
        if not self.closed:
            self._rename()

    def _renamed(self) -> None:
        self.names.refresh()
        self._survey()

    def close(self) -> None:
        """Puts everything back; the model is traced anew without gradscope."""
        if self.closed:
            return
        try:
            self.refresh()
        finally:
            self.closed = self.witness.closed = self.reading.closed = True
            OPEN.remove(self)
            self.patches.close()
        self._scaled.clear()
        self.forward.active = False
        self.events.clear()
        self.forward.reset()
        self._trace_anew()
