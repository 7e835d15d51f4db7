"""A plain training loop over a Workload, as its recipe says. It observes nothing itself: a session around it does."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from gradscope.errors import CannotJudge, UsageError
from gradscope.recipe import SMALLEST_NORM, Recipe
from gradscope.scope import Scope
from gradscope.workload import Score, Workload, groups, held_out, score

OWN_CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")


def train(scope: Scope, workload: Workload) -> None:
    """Trains until the scope has seen enough steps. Raises CannotJudge without batches or weights."""
    model, recipe = workload.model, workload.recipe
    loss_of = loss_function(workload.loss)
    optimizer = optimizer_of(workload, model)
    with stepping(recipe, optimizer) as begin:
        for step, group in enumerate(groups(workload, scope.settings.steps)):
            several = []
            for inputs, target in group:
                with tf.GradientTape() as tape:
                    loss = loss_of(model(inputs, training=True), target)
                    loss = tf.add_n([loss, *(tf.cast(one, loss.dtype) for one in model.losses)])
                weights = model.trainable_variables
                if not weights:
                    raise CannotJudge(f"workload(): {type(model).__name__} has no weight to train")
                several.append(tape.gradient(loss, weights))
            begin(step)
            gradients = prepared(recipe, weights, average(several), optimizer)
            decay(recipe, optimizer, [w for w, g in zip(weights, gradients, strict=True) if g is not None])
            optimizer.apply(gradients, weights)


@contextlib.contextmanager
def stepping(recipe: Recipe, optimizer: Any) -> Iterator[Callable[[int], None]]:
    """Sets the learning rate of each step, and clipping by norm as the optimizer's own where it has none; as they were
    at the end. Raises UsageError for an optimizer whose rate follows a schedule of its own."""
    usual = None
    if recipe.schedule is not None:
        if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            raise UsageError("workload(): the optimizer's learning rate follows a schedule of its own already")
        usual = float(optimizer.learning_rate)
    clips = recipe.clip_norm is not None and clips_nothing(optimizer)

    def begin(step: int) -> None:
        if usual is not None:
            optimizer.learning_rate = usual * recipe.factor(step)

    if clips:
        optimizer.global_clipnorm = recipe.clip_norm
    try:
        yield begin
    finally:
        if clips:
            optimizer.global_clipnorm = None
        if usual is not None:
            optimizer.learning_rate = usual


def clips_nothing(optimizer: Any) -> bool:
    """Whether the optimizer clips no gradients itself."""
    return all(getattr(optimizer, name, None) is None for name in OWN_CLIPPING)


def average(several: Sequence[Sequence[Any]]) -> list[Any]:
    """The mean of the gradients of several batches; None where none of them has one."""
    if len(several) == 1:
        return list(several[0])
    found = []
    for of_one in zip(*several, strict=True):
        given = [tf.convert_to_tensor(g) for g in of_one if g is not None]
        found.append(tf.add_n(given) / len(several) if given else None)
    return found


def prepared(recipe: Recipe, weights: Sequence[Any], gradients: Sequence[Any], optimizer: Any) -> list[Any]:
    """The gradients with their penalties, clipped; by norm only where the optimizer does not see to it."""
    if not recipe.changes_gradients:
        return list(gradients)
    found = [
        None if g is None else changed(recipe, tf.convert_to_tensor(w), tf.convert_to_tensor(g))
        for w, g in zip(weights, gradients, strict=True)
    ]
    if recipe.clip_norm is None or optimizer.global_clipnorm == recipe.clip_norm:
        return found
    return list(tf.clip_by_global_norm(found, recipe.clip_norm)[0])


def changed(recipe: Recipe, weight: Any, gradient: Any) -> Any:
    """One gradient with its penalties, clipped by value and by unit."""
    if len(weight.shape) > 1:
        if recipe.l1:
            gradient += recipe.l1 * tf.sign(weight)
        if recipe.l2:
            gradient += recipe.l2 * weight
    if recipe.clip_value is not None:
        gradient = tf.minimum(tf.maximum(gradient, -recipe.clip_value), recipe.clip_value)
    if recipe.clip_adaptive is not None:
        bound = recipe.clip_adaptive * tf.maximum(unit_norm(weight), SMALLEST_NORM)
        norm = unit_norm(gradient)
        gradient *= tf.cast(tf.where(norm > bound, bound / norm, tf.ones_like(norm)), gradient.dtype)
    return gradient


def unit_norm(array: Any) -> Any:
    """L2 norm of each unit, an entry of the last dimension, float32 at least; an array of one dimension is one unit."""
    axes = list(range(len(array.shape) - 1)) if len(array.shape) > 1 else None
    wide = array if array.dtype == tf.float64 else tf.cast(array, tf.float32)
    return tf.sqrt(tf.reduce_sum(tf.square(wide), axis=axes))


def decay(recipe: Recipe, optimizer: Any, weights: Sequence[Any]) -> None:
    """Multiplies weights by 1 - rate x decay."""
    if not recipe.decay:
        return
    left = 1 - float(optimizer.learning_rate) * recipe.decay
    for weight in weights:
        if len(weight.shape) > 1:
            weight.assign(tf.convert_to_tensor(weight) * left)


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


def fresh(workload: Workload, seed: int) -> Workload:
    """Seeds Python, numpy and TensorFlow, and gives the workload a model of its own: built anew, or copied; and an
    optimizer of its own where it is one. Raises UsageError for a model that cannot be copied."""
    keras.utils.set_random_seed(seed % 2**32)
    given = workload.model
    made = copied(given) if isinstance(given, keras.Layer) else given()
    optimizer: Any = workload.optimizer
    if isinstance(optimizer, keras.Optimizer):
        optimizer = type(optimizer).from_config(optimizer.get_config())
    return replace(workload, model=made, optimizer=optimizer)


def copied(model: Any) -> Any:
    """The same layers with the same weights."""
    try:
        made = anew(model)
        if model.built and not made.built:
            made.build_from_config(model.get_build_config())
        made.set_weights(model.get_weights())
        for old, new in zip(model._flatten_layers(), made._flatten_layers(), strict=True):
            new.trainable = old.trainable
    except Exception as error:
        raise UsageError(
            f"workload(): a {type(model).__name__} cannot be copied ({type(error).__name__}: {error}); "
            "give a function that builds it"
        ) from error
    return made


def anew(model: Any) -> Any:
    """A model from the other's configuration; where its class takes not all of that, from the arguments it has."""
    config = model.get_config()
    taken = inspect.signature(type(model).__init__).parameters
    if isinstance(model, keras.Sequential) or not set(config).isdisjoint({"layers", "input_layers"}):
        return type(model).from_config(config)
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()) or set(config) <= set(taken):
        return type(model).from_config(config)
    return type(model)(**{k: v for k, v in config.items() if k in taken})


def evaluate(workload: Workload) -> Score:
    """The loss, and the metric, of what was held out, in evaluation mode; of the batches where nothing was."""
    loss_of = loss_function(workload.loss)

    def parts() -> Iterator[tuple[int, float, float | None]]:
        for inputs, target in held_out(workload):
            output = workload.model(inputs, training=False)
            metric = None if workload.metric is None else mean(workload.metric(output, target))
            yield samples(output, target), mean(loss_of(output, target)), metric

    return score(parts())


def mean(value: Any) -> float:
    """The mean of an array or number, float64."""
    return float(np.mean(np.asarray(value, "f8")))


def samples(output: Any, target: Any) -> int:
    """How many samples a batch holds: the first dimension of what the model gave, or of its target."""
    for array in (output, target):
        shape: Any = getattr(array, "shape", ())
        if len(shape):
            return int(shape[0])
    return 1
