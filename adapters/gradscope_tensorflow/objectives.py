"""Objectives: remedies that change the loss of a workload, and what must change with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from gradscope.errors import CannotApply
from gradscope.regimen import Settings, first_pair, setting
from gradscope.workload import Workload
from keras import layers

from gradscope_tensorflow.additions import with_gradient_of
from gradscope_tensorflow.anatomy import builder, streams_kept
from gradscope_tensorflow.rebuilding import appended
from gradscope_tensorflow.trainer import loss_function


def shapes(workload: Workload, remedy: str) -> tuple[Any, Any]:
    """(output, target) of the first batch, as arrays. Raises CannotApply where they are none."""
    inputs, target = first_pair(workload, remedy)
    with streams_kept():
        output = builder(workload)()(inputs)
    for what, value in (("output", output), ("target", target)):
        if not isinstance(value, np.ndarray | tf.Tensor):
            raise CannotApply(f"{remedy}: the {what} is no array but a {type(value).__name__}")
    return np.asarray(output), np.asarray(target)


def matched(workload: Workload, _settings: Settings) -> Workload:
    """match-shapes: the target in the shape of the output."""
    output, target = shapes(workload, "match-shapes")
    if output.shape == target.shape or output.size != target.size:
        given = f"{output.shape} and {target.shape}"
        raise CannotApply(f"match-shapes: output and target of {given} are alike, or not to be matched by a reshape")
    loss = loss_function(workload.loss)
    return replace(workload, loss=lambda output, target: loss(output, tf.reshape(target, tf.shape(output))))


def binary(workload: Workload) -> Workload:
    """The binary cross-entropy of scores."""
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def loss(output: Any, target: Any) -> Any:
        return entropy(tf.cast(tf.reshape(target, tf.shape(output)), output.dtype), output)

    return replace(workload, loss=loss)


def standardized(workload: Workload, settings: Settings) -> Workload:
    """scale-target: the model learns standardized targets and turns its predictions back. The loss keeps its value, in
    the unit of the targets; its gradient is that of the standardized ones. Settings: mean, deviation."""
    deviation = setting("scale-target", settings, "deviation")
    mean = setting("scale-target", settings, "mean", least=-float("inf"))
    _, target = shapes(workload, "scale-target")
    if not np.issubdtype(target.dtype, np.floating):
        raise CannotApply(f"scale-target: targets of {target.dtype} are no measurements")
    loss, build = loss_function(workload.loss), builder(workload)

    def standard(output: Any, target: Any) -> Any:
        small = loss((output - mean) / deviation, (target - mean) / deviation)
        return with_gradient_of(loss(output, target), small)

    def model() -> Any:
        return appended(build(), layers.Rescaling(deviation, mean))

    return replace(workload, loss=standard, model=model)


def noted(workload: Workload, note: Callable[[Any], None]) -> Workload:
    """The workload whose losses are handed to a function, as arrays of the host."""
    loss = loss_function(workload.loss)

    def told(output: Any, target: Any) -> Any:
        value = loss(output, target)
        note(value.numpy())
        return value

    return replace(workload, loss=told)
