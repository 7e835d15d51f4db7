"""A plain training loop over a Workload. It observes nothing itself: a session around it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from gradscope.errors import CannotJudge, UsageError
from gradscope.scope import Scope
from gradscope.workload import Workload, endless


def train(scope: Scope, workload: Workload) -> None:
    """Trains until the scope has seen enough steps. Raises CannotJudge without batches or weights."""
    model = workload.model
    loss_of = loss_function(workload.loss)
    optimizer = optimizer_of(workload, model)
    for inputs, target in endless(workload.batches, scope.settings.steps):
        with tf.GradientTape() as tape:
            loss = loss_of(model(inputs, training=True), target)
        weights = model.trainable_variables
        if not weights:
            raise CannotJudge(f"workload(): {type(model).__name__} has no weight to train")
        optimizer.apply(tape.gradient(loss, weights), weights)


def loss_function(loss: Any) -> Callable[[Any, Any], Any]:
    """A loss called as loss(output, target). Keras' own take the target first, and have names."""
    found = keras.losses.get(loss) if isinstance(loss, str) else loss
    module = getattr(found, "__module__", "")
    if isinstance(found, keras.Loss) or module.startswith("keras."):
        return lambda output, target: tf.reduce_mean(found(target, output))
    return lambda output, target: tf.reduce_mean(found(output, target))


def optimizer_of(workload: Workload, model: Any) -> Any:
    """What the workload's optimizer builds, or is. Raises UsageError for anything but a Keras optimizer."""
    given = workload.optimizer
    made = given if given is None or isinstance(given, keras.Optimizer) else given(model.trainable_variables)
    made = keras.optimizers.Adam() if made is None else made
    if not isinstance(made, keras.Optimizer):
        raise UsageError(f"workload(): optimizer must build a keras.Optimizer, got {type(made).__name__}")
    return made
