"""Losses: which loss the gradients of a variable are those of."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from gradscope_tensorflow.events import is_tensor, reachable_graphs, tensors_of, within


class Losses:
    """The last target that a tape differentiated with respect to each variable.

    mine: the variables that a tape bound to this scope was asked about.
    """

    def __init__(self) -> None:
        self._targets: dict[int, Any] = {}
        self._scaled: tuple[Any, Any] = (None, None)
        self.mine: set[int] = set()

    def scaled(self, loss: Any, result: Any) -> None:
        """A loss was multiplied: the result may overflow where the loss does not."""
        self._scaled = (result, loss)

    def differentiated(self, target: Any, sources: Any, *, mine: bool) -> None:
        """A tape is asked for the gradients of a target."""
        targets = [t for t in tensors_of(target) if t.dtype.is_floating]
        result, loss = self._scaled
        targets = [loss if t is result else t for t in targets]
        self._scaled = (None, None)
        keys = {underlying(v) for v in tf.nest.flatten(sources) if not is_tensor(v)}
        self._targets |= dict.fromkeys(keys, targets[0] if targets else None)
        if mine:
            self.mine |= keys

    def of(self, variables: list[Any]) -> Any:
        """The loss of these variables; None when it is not known where the step is traced."""
        found = (self._targets.get(underlying(v)) for v in variables)
        loss = next((t for t in found if t is not None), None)
        return loss if loss is not None and within(loss, reachable_graphs()) else None

    def take(self, variables: list[Any]) -> Any:
        """The loss of a step over these variables; an eager one is forgotten."""
        loss = self.of(variables)
        if tf.executing_eagerly():
            self._targets = {k: t for k, t in self._targets.items() if t is not loss}
        return loss


def underlying(variable: Any) -> int:
    """What tells a variable, whether Keras' or TensorFlow's own that is inside it."""
    inner = variable._value if isinstance(variable, keras.Variable) else variable
    return id(inner)
