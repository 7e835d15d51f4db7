"""Plans in Keras on TensorFlow, trained as one would, under each of the ways in which gradscope observes them."""

from __future__ import annotations

import warnings
from typing import Any

import gradscope
import keras
import numpy as np
import tensorflow as tf
from gradscope import Scope
from gradscope.reference.activations import Flatten, ReLU, Sigmoid, Softmax, Tanh
from gradscope.reference.layers import Conv, Dense, Layer
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.plans import DECAYS, Plan

from gradscope_tensorflow.session import Session

HAT = True
"""Whether its Adam is the form with epsilon-hat."""
ACTIVATIONS = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh", Softmax: "softmax"}


def by_hand(plan: Plan) -> bool:
    """Whether the loss is none of Keras', so that a tape is needed. Keras' own cross-entropy of logits looks behind a
    softmax, so that one which enters it does no harm; TensorFlow's does not."""
    return plan.loss in {"squared_difference", "log_loss"} or ends_in_softmax(plan)


def ends_in_softmax(plan: Plan) -> bool:
    """Whether the network gives probabilities of classes."""
    return isinstance(plan.network.layers[-1], Softmax)


def layer_of(layer: Layer) -> Any:
    """The layer of Keras."""
    if isinstance(layer, Dense):
        return keras.layers.Dense(layer.outputs, use_bias=layer.bias, name=layer.name)
    if isinstance(layer, Conv):
        return keras.layers.Conv2D(layer.outputs, layer.width, use_bias=layer.bias, name=layer.name)
    if isinstance(layer, BatchNorm):
        return keras.layers.BatchNormalization(epsilon=layer.epsilon, name=layer.name)
    if isinstance(layer, Flatten):
        return keras.layers.Flatten(name=layer.name)
    return keras.layers.Activation(ACTIVATIONS[type(layer)], name=layer.name)


def model_of(plan: Plan) -> Any:
    """The network with its weights."""
    model = keras.Sequential([layer_of(layer) for layer in plan.network.layers])
    model.build(plan.batches[0][0].shape)
    for layer in model.layers:
        for variable in layer.trainable_variables:
            variable.assign(plan.weights[f"{layer.name}.{variable.name}"])
    return model


def reference_name(name: str) -> str:
    """What the reference calls a parameter, or a module: the same."""
    return name


def optimizer_of(plan: Plan) -> Any:
    """The optimizer, with the hyperparameters of the reference."""
    if plan.optimizer == "SGD":
        return keras.optimizers.SGD(plan.rate, global_clipnorm=plan.limit)
    return keras.optimizers.Adam(plan.rate, *DECAYS, epsilon=1e-8, global_clipnorm=plan.limit)


def loss_of(plan: Plan, output: Any, target: Any) -> Any:
    """The loss, called or written by hand."""
    if plan.loss == "mean_squared_error":
        return keras.losses.MeanSquaredError()(target, output)
    if ends_in_softmax(plan):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=output))
    if plan.loss == "softmax_cross_entropy":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(target, output)
    if plan.loss == "squared_difference":
        return tf.reduce_mean(tf.square(output - target))
    return -tf.reduce_mean(target * tf.math.log(output) + (1 - target) * tf.math.log(1 - output))


def loop(plan: Plan, model: Any, optimizer: Any) -> None:
    """One step a batch, with a tape."""
    for given, target in plan.batches:
        with tf.GradientTape() as tape:
            loss = loss_of(plan, model(tf.constant(given), training=True), tf.constant(target))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def fit(plan: Plan, model: Any) -> None:
    """One epoch over all batches, in their order."""
    given, target = (np.concatenate(parts) for parts in zip(*plan.batches, strict=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the `tf.config")  # eager graphs, of which tf.data is none
        model.fit(given, target, batch_size=len(plan.batches[0][0]), epochs=1, shuffle=False, verbose=0)


def observed(plan: Plan, way: str) -> Scope:
    """The closed scope of a training."""
    model, optimizer = model_of(plan), optimizer_of(plan)
    if not by_hand(plan):
        losses = {"mean_squared_error": "mse"}
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=losses.get(plan.loss, cross_entropy))
    if way == "watch":
        with gradscope.watch(model) as scope:
            fit(plan, model)
        return scope
    scope = Scope()
    with Session(scope):
        if way == "tape" or by_hand(plan):
            loop(plan, model, optimizer)
        else:
            fit(plan, model)
    return scope
