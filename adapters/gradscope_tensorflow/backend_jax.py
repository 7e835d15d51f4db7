"""Keras on JAX under `check`: nothing is jitted, so that the optimizer's step has numbers. What runs inside
jax.value_and_grad has none: of the forward pass only the loss is known."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import jax
import keras
from gradscope.guard import guarded
from gradscope.patches import Patches

from gradscope_tensorflow.arrays import is_eager
from gradscope_tensorflow.backend import numbers_in, scale_of
from gradscope_tensorflow.recorder import Recorder

LIMIT = "Keras runs on JAX, where layers have no numbers while gradients are computed"


class JaxBackend:
    """JAX without jit, and the losses that its gradients are those of."""

    scales = False
    """Inside jax.value_and_grad a scale may have no number: it is read when the gradients are used."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self._stack = contextlib.ExitStack()
        self._scale: float | None = None
        self._given: tuple[Any, Any] = ([], None)
        self._take = guarded("gradscope_jax", recorder.scope.failures, self._take_evaluations)
        self._unscale = guarded("keras loss scaling", recorder.scope.failures, self._note_scale)

    def install(self, patches: Patches) -> None:
        """Nothing is jitted from now on."""
        self._stack.enter_context(jax.disable_jit())
        self.recorder.scope.limits["activations"] = LIMIT
        patches.wrap(jax, "value_and_grad", self._value_and_grad)
        scaler = keras.optimizers.LossScaleOptimizer
        patches.wrap(scaler, "stateless_apply", self._apply_scaled)
        patches.wrap(scaler, "_stateless_handle_non_finite_grads", self._overflows)

    def close(self) -> None:
        """What is jitted is jitted again."""
        self._stack.close()

    def training(self) -> bool:
        """No layer is observed."""
        return False

    def seen(self, gradients: list[Any]) -> bool:
        """Whether the gradients have numbers: not inside a program that is traced."""
        return numbers_in(gradients)

    def step_begins(self, optimizer: Any) -> None:
        """The gradients are used by Keras: no other observer is to count this step again."""
        self._take()
        scale, self._scale = self._scale or scale_of(optimizer), None
        self.recorder.losses = [(loss, scale) for loss, _ in self.recorder.losses]

    def _take_evaluations(self) -> None:
        module = sys.modules.get("gradscope_jax.session")
        for session in module.OPEN if module is not None else ():
            for evaluation in session.recorder.waiting:
                evaluation.used.add("keras")

    def _note_scale(self, optimizer: Any, variables: Any, gradients: Any) -> None:
        at = next(i for i, v in enumerate(optimizer.variables) if v is optimizer.dynamic_scale)
        if is_eager(variables[at]):
            self._scale, self._given = float(variables[at]), (list(gradients), list(optimizer._trainable_variables))

    def _apply_scaled(self, original: Any) -> Any:
        def stateless_apply(optimizer: Any, optimizer_variables: Any, grads: Any, trainable_variables: Any) -> Any:
            self._unscale(optimizer, optimizer_variables, grads)
            return original(optimizer, optimizer_variables, grads, trainable_variables)

        return stateless_apply

    def _overflows(self, original: Any) -> Any:
        def handle(optimizer: Any, *args: Any) -> Any:
            (gradients, variables), scale = self._given, self._scale
            if scale is not None and gradients:
                self.step_begins(optimizer.inner_optimizer)
                self.recorder.losses = [(loss, scale) for loss, _ in self.recorder.losses]
                self.recorder.skipped(optimizer.inner_optimizer, gradients, variables, scale)
            return original(optimizer, *args)

        return handle

    def _value_and_grad(self, original: Any) -> Any:
        def value_and_grad(*args: Any, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            has_aux = bool(kwargs.get("has_aux"))

            def evaluate(*inner: Any, **named: Any) -> Any:
                found = made(*inner, **named)
                loss = found[0][0] if has_aux else found[0]
                if is_eager(loss):
                    self.recorder.differentiated(loss)
                return found

            return evaluate

        return value_and_grad
