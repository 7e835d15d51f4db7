"""Steps that a loop takes by itself, `variable.assign_sub(rate * gradient)`, with no optimizer that could be seen."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import tensorflow as tf
from gradscope.guard import guarded
from gradscope.scope import Enough

from gradscope_tensorflow.recorder import Recorder


class ByHand:
    """Stands where an optimizer is expected."""

    learning_rate = None

    def __init__(self, variables: list[Any]):
        self._trainable_variables = variables

    def get_config(self) -> dict[str, Any]:
        """Nothing is known of it."""
        return {}


class StepsByHand:
    """Compares the variables of one gradient with what they are when the next tape opens."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self._loops: dict[tuple[int, ...], ByHand] = {}
        self._open: tuple[list[Any], list[Any], list[Any]] | None = None
        self.differentiated = guarded("steps by hand", recorder.scope.failures, self._differentiated)
        self._look = guarded("steps by hand", recorder.scope.failures, self._changed)
        self._replace = guarded("steps by hand", recorder.scope.failures, self._give_weights)

    def _differentiated(self, sources: Any, gradients: Any) -> None:
        """A tape gave gradients of variables, outside of any other tape."""
        variables, found = tf.nest.flatten(sources), tf.nest.flatten(gradients)
        variables = [getattr(v, "value", v) if not isinstance(v, tf.Variable) else v for v in variables]
        known = any(not isinstance(o.optimizer, ByHand) for o in self.recorder.order)
        if known or len(variables) != len(found) or not all(isinstance(v, tf.Variable) for v in variables):
            self._open = None
            return
        self._open = variables, found, [v.numpy().copy() for v in variables]

    def tape_opens(self) -> None:
        """A new pass begins: whoever wanted to change the variables has."""
        moved: list[bool] = []
        self._look(moved)
        opened, self._open = self._open, None
        if opened is None or not any(moved):
            return
        variables, gradients, before = opened
        loop = self._loops.setdefault(tuple(map(id, variables)), ByHand(variables))
        self.recorder.step_begins(loop, gradients, variables)
        self._replace(loop, variables, before)
        try:
            self.recorder.step_ended(loop)
        finally:
            self.recorder.forward.reset()

    def _changed(self, moved: list[bool]) -> None:
        """Tells whether a step was taken by hand since the last gradient."""
        known = any(not isinstance(o.optimizer, ByHand) for o in self.recorder.order)
        if self._open is not None and not known:
            variables, _, before = self._open
            moved.append(
                any(not np.array_equal(v.numpy(), b, equal_nan=True) for v, b in zip(variables, before, strict=True))
            )

    def _give_weights(self, loop: ByHand, variables: list[Any], before: list[Any]) -> None:
        objective = next(o for o in self.recorder.order if o.optimizer is loop)
        objective.give_weights({id(v): b for v, b in zip(variables, before, strict=True)})

    def close(self) -> None:
        """Takes note of the last step."""
        with contextlib.suppress(Enough):
            self.tape_opens()
