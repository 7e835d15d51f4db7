"""Session: observes whatever a script trains with Keras or tf.GradientTape. Graphs run eagerly in it, so that every
function of a step can be seen at its work."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from gradscope.guard import guarded
from gradscope.scope import Scope
from keras.src.optimizers.base_optimizer import BaseOptimizer

from gradscope_tensorflow import functions
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.patches import Patches
from gradscope_tensorflow.recorder import Recorder
from gradscope_tensorflow.source import Sources


class Session:
    """Wrappers around layers, losses, tapes and optimizers, from `with` to its end."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.sources = Sources()
        self.names = Names(self.sources)
        self.recorder = Recorder(scope, self.names)
        self.patches = Patches()
        self._eager = False

    def __enter__(self) -> Session:
        self._eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        self.sources.install(self.patches)
        self.patches.wrap(keras.Layer, "__call__", self._layer)
        self.patches.wrap(tf.GradientTape, "__enter__", self._tape_enters)
        self.patches.wrap(tf.GradientTape, "__exit__", self._tape_exits)
        self.patches.wrap(tf.GradientTape, "gradient", self._gradient)
        self.patches.wrap(BaseOptimizer, "apply", self._apply)
        self.patches.wrap(keras.optimizers.LossScaleOptimizer, "apply", self._apply_scaled)
        self.patches.wrap(keras.optimizers.LossScaleOptimizer, "scale_loss", self._scale)
        one_by_one = guarded("keras functions", self.scope.failures, lambda action, *args: action(*args))
        functions.install(self.patches, self.recorder.forward, one_by_one)
        return self

    def __exit__(self, *_: Any) -> None:
        self.patches.close()
        tf.config.run_functions_eagerly(self._eager)
        self.recorder.close()

    def _layer(self, original: Any) -> Any:
        recorder = self.recorder

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if not recorder.forward.tapes:
                return original(layer, *args, **kwargs)
            given = args or tuple(kwargs.values())
            recorder.enter(layer, given)
            output = None
            try:
                output = original(layer, *args, **kwargs)
                return output
            finally:
                recorder.leave(layer, given, output)

        return call

    def _tape_enters(self, original: Any) -> Any:
        def enter(tape: Any) -> Any:
            self.recorder.forward.tapes += 1
            return original(tape)

        return enter

    def _tape_exits(self, original: Any) -> Any:
        def leave(tape: Any, *args: Any) -> Any:
            self.recorder.forward.tapes = max(0, self.recorder.forward.tapes - 1)
            return original(tape, *args)

        return leave

    def _gradient(self, original: Any) -> Any:
        def gradient(tape: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.recorder.forward.tapes:  # inside another tape it is a penalty's gradient, no step's
                self.recorder.differentiated(target)
            return original(tape, target, *args, **kwargs)

        return gradient

    def _apply(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            if not gradients:
                return original(optimizer, gradients, variables)
            self.recorder.step_begins(optimizer, gradients, variables)
            result = original(optimizer, gradients, variables)
            self.recorder.step_ended(optimizer)
            return result

        return apply

    def _apply_scaled(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            before = int(optimizer.inner_optimizer.iterations)
            result = original(optimizer, gradients, variables)
            if gradients and int(optimizer.inner_optimizer.iterations) == before:
                self.recorder.skipped(optimizer.inner_optimizer, gradients, variables)
            return result

        return apply

    def _scale(self, original: Any) -> Any:
        def scale_loss(optimizer: Any, loss: Any) -> Any:
            result = original(optimizer, loss)
            self.recorder.scaled(result, float(optimizer.dynamic_scale))
            return result

        return scale_loss
