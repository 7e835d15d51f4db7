"""watch(model, optimizer) for Keras on JAX: the optimizer's step, while it is traced, adds a callback that hands a row
of numbers to the host. No array leaves its device but that row, and nothing runs without jit for it.

XLA may fuse a step in another way when its gradients are looked at: then the last bits of its results differ.
"""

from __future__ import annotations

import math
from functools import wraps
from typing import Any

import jax
import keras
from gradscope.guard import guarded
from gradscope.patches import Patches
from gradscope.scope import Scope
from keras.src.backend.jax.trainer import JAXTrainer
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.trainers.trainer import Trainer

from gradscope_tensorflow.arguments import check_arguments
from gradscope_tensorflow.functions import AS_IT_IS
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.recorder import described
from gradscope_tensorflow.source import Sources
from gradscope_tensorflow.track_jax import Track

LIMIT = "Keras runs on JAX: what its layers put out is not seen"
MOST_WAITING = 64
"""Calls whose numbers are kept between two calls of a train function."""


class Watch:
    """Wrappers that close() takes away; a model that was traced before is traced anew."""

    def __init__(self, scope: Scope, model: Any, optimizer: Any):
        self.models = list(model) if isinstance(model, list | tuple) else [model]
        given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer] if optimizer else []
        self.optimizers = given or [m.optimizer for m in self.models if getattr(m, "optimizer", None) is not None]
        check_arguments(self.models, self.optimizers)
        self.scope = scope
        self.scalers = [o for o in self.optimizers if hasattr(o, "inner_optimizer")]
        self.optimizers += [o.inner_optimizer for o in self.scalers]
        self.names = Names(Sources())
        for one in self.models:
            self.names.add_root(one)
        self.tracks: dict[int, Track] = {}
        self._settings = {id(o): described(o) for o in self.optimizers}  # they have no numbers while a step is traced
        self.closed = False
        self._in_loss = False
        self._count: Any = None
        self._scaled: dict[int, tuple[list[Any], Any, list[Any]]] = {}
        self._write = guarded("keras optimizers", scope.failures, self._emit)
        self._lose = guarded("keras losses", scope.failures, self._emit_loss)
        self._scale = guarded("keras loss scaling", scope.failures, self._note_scale)
        self._overflow = guarded("keras loss scaling", scope.failures, self._emit_overflow)
        self._note = guarded("keras losses", scope.failures, self._note_count)
        self._drain = guarded("keras fit", scope.failures, self._drain_some)
        self._settle = guarded("keras fit", scope.failures, self._drain_all)
        self._rename = guarded("keras names", scope.failures, self._renamed)
        scope.limits["activations"] = LIMIT
        self.patches = Patches(**AS_IT_IS)
        self.patches.wrap(BaseOptimizer, "apply", self._wrap_apply)
        self.patches.wrap(Trainer, "_compute_loss", self._wrap_loss)
        self.patches.wrap(Trainer, "compute_loss", self._wrap_loss)
        self.patches.wrap(JAXTrainer, "make_train_function", self._wrap_make)
        self.patches.wrap(keras.optimizers.LossScaleOptimizer, "stateless_apply", self._wrap_scaled)
        self.patches.wrap(
            keras.optimizers.LossScaleOptimizer, "_stateless_handle_non_finite_grads", self._wrap_overflow
        )
        self._trace_anew()

    def _trace_anew(self) -> None:
        for model in self.models:
            if getattr(model, "train_function", None) is not None:
                model.make_train_function(force=True)

    # -- while a step is traced ------------------------------------------------------------------------------------

    def _wrap_make(self, original: Any) -> Any:
        """jax.jit remembers what it traced by the function: so the model's step gets a new one."""

        def make_train_function(model: Any, force: bool = False) -> Any:
            known = model.train_function
            if self.closed or not any(model is m for m in self.models) or (known is not None and not force):
                return original(model, force=force)
            step = model.train_step

            @wraps(step)
            def train_step(*args: Any, **kwargs: Any) -> Any:
                self._note(model, *args, **kwargs)
                try:
                    return step(*args, **kwargs)
                finally:
                    self._count = None

            own = vars(model).get("train_step")
            vars(model)["train_step"] = train_step
            try:
                original(model, force=force)
            finally:
                vars(model).pop("train_step")
                if own is not None:
                    vars(model)["train_step"] = own
            model.train_function = self._draining(model.train_function)
            return None

        return make_train_function

    def _draining(self, run: Any) -> Any:
        def train_function(*args: Any) -> Any:
            result = run(*args)
            self._drain()
            return result

        return train_function

    def _wrap_loss(self, original: Any) -> Any:
        def compute_loss(model: Any, *args: Any, **kwargs: Any) -> Any:
            training = kwargs.get("training", args[4] if len(args) > 4 else True)
            if self._in_loss or self.closed or not training or not any(model is m for m in self.models):
                return original(model, *args, **kwargs)
            self._in_loss = True
            try:
                loss = original(model, *args, **kwargs)
            finally:
                self._in_loss = False
            self._lose(model, loss)
            return loss

        return compute_loss

    def _emit_loss(self, model: Any, loss: Any) -> None:
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        if isinstance(loss, jax.Array) and optimizer is not None and optimizer.built:
            self._track(optimizer).emit_loss(loss, self._count)

    def _note_count(self, model: Any, state: Any = None, *_: Any, **__: Any) -> None:
        """A step is traced: how many its optimizer has made is part of the state that it is given."""
        optimizer = model.optimizer
        if not isinstance(state, tuple) or len(state) != 4 or len(state[2]) != len(optimizer.variables):
            return
        counts = getattr(optimizer, "inner_optimizer", optimizer)._iterations
        pairs = zip(optimizer.variables, state[2], strict=True)
        self._count = next((value for variable, value in pairs if variable is counts), None)

    def _track(self, optimizer: Any) -> Track:
        track = self.tracks.get(id(optimizer))
        if track is None:
            self.names.refresh()
            name = f"{type(optimizer).__name__} {len(self.tracks) + 1}"
            settings = self._settings[id(optimizer)]
            track = self.tracks[id(optimizer)] = Track(self.scope, optimizer, self.names, name, settings)
            self._survey()
        return track

    def _survey(self) -> None:
        for one in self.tracks.values():
            others = [o for o in self.tracks.values() if o is not one]
            one.objective.survey([], {id(v) for o in others for v in o.variables})

    def _wrap_apply(self, original: Any) -> Any:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if self.closed or not any(optimizer is o for o in self.optimizers):
                return original(optimizer, grads, trainable_variables)
            gradients = list(grads)
            variables = list(trainable_variables) if trainable_variables is not None else None
            seen: dict[str, Any] = {}
            self._write(optimizer, gradients, variables, seen)
            result = original(optimizer, gradients, variables)
            self._write(optimizer, gradients, variables, seen)
            return result

        return apply

    def _emit(self, optimizer: Any, gradients: list[Any], variables: list[Any] | None, seen: dict[str, Any]) -> None:
        """Called before the step and after it: what the step changes must be read before."""
        if not optimizer.built:
            if seen:
                raise RuntimeError("an optimizer has no variables after its step")
            seen["late"] = True
            return
        track = self._track(optimizer)
        held = variables if variables is not None else track.variables
        by_variable = {id(v): g for v, g in zip(held, gradients, strict=False)}
        if "before" not in seen:
            if not seen:
                seen["given"] = track.given([by_variable.get(id(v)) for v in track.variables])
                seen["before"] = [v.value for v in track.variables]
            return
        after = [v.value for v in track.variables]
        outer = next((o for o in self.scalers if o.inner_optimizer is optimizer), None)
        scale = optimizer.loss_scale_factor if outer is None else self._scaled[id(outer)][1]
        track.emit(seen["given"], seen["before"], after, math.nan if scale is None else scale, skipped=False)

    def _wrap_scaled(self, original: Any) -> Any:
        def stateless_apply(optimizer: Any, optimizer_variables: Any, grads: Any, trainable_variables: Any) -> Any:
            self._scale(optimizer, optimizer_variables, grads)
            try:
                return original(optimizer, optimizer_variables, grads, trainable_variables)
            finally:
                self._scaled.pop(id(optimizer), None)

        return stateless_apply

    def _note_scale(self, optimizer: Any, variables: Any, gradients: Any) -> None:
        at = next(i for i, v in enumerate(optimizer.variables) if v is optimizer.dynamic_scale)
        mapping = list(zip(optimizer.variables, variables, strict=True))
        self._scaled[id(optimizer)] = (list(gradients), variables[at], mapping)

    def _wrap_overflow(self, original: Any) -> Any:
        def handle(optimizer: Any, *args: Any) -> Any:
            if not self.closed and any(optimizer is o for o in self.scalers):
                self._overflow(optimizer)
            return original(optimizer, *args)

        return handle

    def _emit_overflow(self, optimizer: Any) -> None:
        gradients, scale, mapping = self._scaled[id(optimizer)]
        found = [g if g is None else g / scale for g in gradients]
        with keras.StatelessScope(state_mapping=mapping):
            self._track(optimizer.inner_optimizer).emit(found, [], [], scale, skipped=True)

    # -- on the host -----------------------------------------------------------------------------------------------

    def _drain_some(self) -> None:
        for track in self.tracks.values():
            if track.waiting >= MOST_WAITING:
                track.drain()

    def flush(self) -> None:
        """Waits for what runs, and writes what arrived."""
        self._settle()

    def _drain_all(self) -> None:
        jax.effects_barrier()
        for track in self.tracks.values():
            track.drain(whole=True)

    def refresh(self) -> None:
        """Writes what arrived, and gives everything its final name."""
        self.flush()
        if not self.closed:
            self._rename()

    def _renamed(self) -> None:
        self.names.refresh()
        self._survey()

    def close(self) -> None:
        """Takes the wrappers away; the model is traced anew without gradscope."""
        if self.closed:
            return
        try:
            self.refresh()
        finally:
            self.closed = True
            self.patches.close()
            self._scaled.clear()
            self._trace_anew()
