"""Cold check: one pass of random inputs through a fresh model, forward and backward, and no training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from gradscope.errors import CannotJudge, TargetError
from gradscope.gains import note_gains
from gradscope.scope import Scope
from gradscope.workload import Cold

from gradscope_tensorflow.arrays import is_float, tensors
from gradscope_tensorflow.session import Session


def cold(scope: Scope, target: Cold) -> None:
    """Fills a history with one step at learning rate zero; facts["layers"] holds the gain of each layer.

    Raises CannotJudge for a model without weights, TargetError when the input does not fit the model.
    """
    random = np.random.default_rng(target.seed)
    with Session(scope) as session:
        model = target.build()
        if not isinstance(model, keras.Layer):
            raise TargetError(f"expected a keras.Layer, got {type(model).__name__}")
        kept: dict[str, Any] = {}
        session.recorder.forward.kept = kept
        with tf.GradientTape() as tape:
            output = next((t for t in tensors(forward(model, target, random)) if is_float(t)), None)
            if output is None:
                raise CannotJudge("the output holds no tensor of floating-point numbers")
            loss = loss_of(output, target, random)
        if not model.trainable_variables:
            raise CannotJudge(f"{type(model).__name__} has no weight to train")
        weights = model.trainable_variables
        found = tape.gradient(loss, [*weights, *kept.values()])
        keras.optimizers.SGD(0.0).apply(found[: len(weights)], weights)
    sizes = {
        name: float(tf.sqrt(tf.reduce_mean(tf.square(g)))) if g is not None else 0.0
        for name, g in zip(kept, found[len(weights) :], strict=True)
    }
    note_gains(scope.histories[0], sizes)


def forward(model: Any, target: Cold, random: np.random.Generator) -> Any:
    """The output for random inputs: normal numbers, or tokens where the first layer is an embedding."""
    shape = (target.batch, *target.input_shape)
    layers = model._flatten_layers(include_self=False) or [model]
    first = next((la for la in layers if not isinstance(la, keras.layers.InputLayer)), None)
    inputs: Any = random.standard_normal(shape, dtype="f4")
    if isinstance(first, keras.layers.Embedding):
        inputs = random.integers(0, first.input_dim, shape)
    try:
        return model(tf.constant(inputs), training=True)
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise TargetError(
            f"{type(model).__name__} does not take an input of shape {list(shape)} "
            f"(batch {target.batch}, --input-shape {','.join(map(str, target.input_shape))}): {text}"
        ) from error


def loss_of(output: Any, target: Cold, random: np.random.Generator) -> Any:
    """Cross-entropy against random classes, or half the mean square where no number of classes is given."""
    if target.classes is None:
        return tf.reduce_mean(tf.square(output)) / 2
    if output.shape[-1] != target.classes:
        raise TargetError(f"--classes {target.classes}: the output has shape {list(output.shape)}")
    labels = random.integers(0, target.classes, tuple(output.shape[:-1]))
    logits = getattr(output, "_keras_logits", output)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
