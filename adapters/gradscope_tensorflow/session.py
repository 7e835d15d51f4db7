"""Session: observes whatever a script trains with Keras, or with tf.GradientTape. Everything runs eagerly in it, so
that every function of a step can be seen at its work."""

from __future__ import annotations

from typing import Any

import keras
from gradscope.guard import guarded
from gradscope.patches import Patches
from gradscope.scope import Scope
from keras.src.optimizers.base_optimizer import BaseOptimizer

from gradscope_tensorflow import functions
from gradscope_tensorflow.arrays import host
from gradscope_tensorflow.backend import Backend, backend_of, scale_of
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.recorder import Recorder
from gradscope_tensorflow.source import Sources


class Session:
    """Wrappers around layers, losses, gradients and optimizers, from `with` to its end."""

    def __init__(self, scope: Scope, recorder: Recorder | None = None):
        self.scope = scope
        self.recorder = recorder or Recorder(scope, Names(Sources()))
        self.names = self.recorder.names
        self.sources = self.names.sources
        self.patches = Patches(**functions.AS_IT_IS)
        self._scaled = guarded("keras loss scaling", scope.failures, self._note_scale)
        self.backend: Backend = backend_of(keras.backend.backend())(self.recorder)

    def __enter__(self) -> Session:
        self.sources.install(self.patches)
        self.patches.wrap(keras.Layer, "__call__", self._layer)
        self.patches.wrap(BaseOptimizer, "apply", self._apply)
        self.patches.wrap(BaseOptimizer, "scale_loss", self._scale)
        self.patches.wrap(keras.optimizers.LossScaleOptimizer, "apply", self._apply_scaled)
        self.patches.wrap(keras.optimizers.LossScaleOptimizer, "scale_loss", self._scale)
        one_by_one = guarded("keras functions", self.scope.failures, lambda action, *args: action(*args))
        functions.install(self.patches, self.recorder.forward, one_by_one)
        self.backend.install(self.patches)
        return self

    def __exit__(self, *_: Any) -> None:
        self.patches.close()
        self.backend.close()
        self.recorder.close()

    def concerns(self, _layer: Any) -> bool:
        """Whether a layer is one that is observed."""
        return True

    def wanted(self, _optimizer: Any, gradients: list[Any]) -> bool:
        """Whether an optimizer's step is observed."""
        return self.backend.seen(gradients)

    def _layer(self, original: Any) -> Any:
        recorder = self.recorder

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.backend.training() or not self.concerns(layer):
                return original(layer, *args, **kwargs)
            given = args or tuple(kwargs.values())
            recorder.enter(layer, given)
            output = None
            try:
                output = original(layer, *args, **kwargs)
                recorder.ran(layer, kwargs)
                return output
            finally:
                recorder.leave(layer, given, output)

        return call

    def _apply(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            if not gradients or not self.wanted(optimizer, gradients) or not ends_step(optimizer):
                return original(optimizer, gradients, variables)
            self.backend.step_begins(optimizer)
            self.recorder.step_begins(optimizer, gradients, variables)
            result = original(optimizer, gradients, variables)
            self.recorder.step_ended(optimizer)
            return result

        return apply

    def _apply_scaled(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            if not self.wanted(optimizer.inner_optimizer, gradients):
                return original(optimizer, gradients, variables)
            before, scale = calls_of(optimizer.inner_optimizer), scale_of(optimizer)
            result = original(optimizer, gradients, variables)
            if gradients and scale and calls_of(optimizer.inner_optimizer) == before:
                self.recorder.skipped(optimizer.inner_optimizer, gradients, variables, scale)
            return result

        return apply

    def _scale(self, original: Any) -> Any:
        def scale_loss(optimizer: Any, loss: Any) -> Any:
            result = original(optimizer, loss)
            self._scaled(optimizer, loss, result)
            return result

        return scale_loss

    def _note_scale(self, optimizer: Any, loss: Any, result: Any) -> None:
        scale = scale_of(optimizer) if self.backend.scales else None
        if scale is not None:
            self.recorder.scaled(loss, result, scale)


def calls_of(optimizer: Any) -> int:
    """How often an optimizer was called: gradients that it only adds up count too."""
    return int(host(optimizer._iterations))


def ends_step(optimizer: Any) -> bool:
    """Whether this call makes a step: with gradient accumulation only the last of several does."""
    many = getattr(optimizer, "gradient_accumulation_steps", None)
    return not many or (calls_of(optimizer) + 1) % many == 0
