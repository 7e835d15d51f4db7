"""Steps: remedies that wrap what makes the optimizer of a workload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import keras
import tensorflow as tf
from gradscope.errors import CannotApply
from gradscope.regimen import Settings, setting, with_recipe
from gradscope.workload import Workload

from gradscope_tensorflow.anatomy import builder, streams_kept
from gradscope_tensorflow.trainer import optimizer_of


def made_by(workload: Workload, weights: Any) -> Any:
    """An optimizer of its own, as the workload says."""
    given: Any = workload.optimizer
    if isinstance(given, keras.Optimizer):
        return type(given).from_config(given.get_config())
    return optimizer_of(workload, SimpleNamespace(trainable_variables=weights))


def remade(workload: Workload, change: Callable[[Any], Any]) -> Workload:
    """The workload whose optimizer is changed once it is made."""

    def changed(weights: Any) -> Any:
        optimizer = made_by(workload, weights)
        change(optimizer)
        return optimizer

    return replace(workload, optimizer=changed)


def sample(workload: Workload) -> Any:
    """An optimizer as the workload makes it."""
    with streams_kept():
        return made_by(workload, builder(workload)().trainable_variables)


def with_eps(workload: Workload, eps: float) -> Workload:
    """A larger eps. Raises CannotApply for an optimizer without one."""
    if not hasattr(sample(workload), "epsilon"):
        raise CannotApply("full-precision-weights: the optimizer has no epsilon")
    return remade(workload, lambda optimizer: setattr(optimizer, "epsilon", eps))


def optimized(workload: Workload, settings: Settings) -> Workload:
    """replace-optimizer. Settings: optimizer, a class of keras.optimizers; rate."""
    name, rate = str(settings.get("optimizer", "Adam")), setting("replace-optimizer", settings, "rate")
    kind = getattr(keras.optimizers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, keras.Optimizer)):
        raise CannotApply(f"replace-optimizer: there is no keras.optimizers.{name}")
    if type(sample(workload)) is kind:
        raise CannotApply(f"replace-optimizer: the optimizer is {name} already")
    return replace(workload, optimizer=lambda _weights: kind(learning_rate=rate))


def decayed_less(workload: Workload, settings: Settings) -> Workload:
    """weaken-penalty: regularizers of the model, penalties and decay of recipe and optimizer times a factor.
    Settings: factor."""
    factor, recipe, build = setting("weaken-penalty", settings, "factor"), workload.recipe, builder(workload)

    def weakened() -> Any:
        model = build()
        for weight in penalized(model):
            weight.regularizer = keras.regularizers.L1L2(*(factor * strength for strength in strengths(weight)))
        return model

    with streams_kept():
        inside = bool(penalized(build()))
    held = bool(getattr(sample(workload), "weight_decay", None))
    if not (inside or held or recipe.l1 or recipe.l2 or recipe.decay):
        raise CannotApply("weaken-penalty: neither model, optimizer nor recipe has a penalty; one in the loss is code")
    treated = with_recipe(workload, l1=factor * recipe.l1, l2=factor * recipe.l2, decay=factor * recipe.decay)
    treated = replace(treated, model=weakened) if inside else treated
    if not held:
        return treated
    return remade(treated, lambda optimizer: setattr(optimizer, "weight_decay", factor * optimizer.weight_decay))


def penalized(model: Any) -> list[Any]:
    """The weights with a regularizer whose strength is known."""
    return [w for w in model.trainable_variables if any(strengths(w))]


def strengths(weight: Any) -> tuple[float, float]:
    """(l1, l2) of the regularizer of a weight; zeros without one."""
    kept = getattr(weight, "regularizer", None)
    return float(getattr(kept, "l1", 0.0)), float(getattr(kept, "l2", 0.0))


def stopped_before_poison(workload: Workload, _settings: Settings) -> Workload:
    """stop-before-poison: no step along a gradient that is not finite."""

    def guard(optimizer: Any) -> None:
        step = optimizer.apply

        def apply(gradients: Any, weights: Any = None) -> Any:
            known = [tf.convert_to_tensor(g) for g in gradients if g is not None]
            if all(bool(tf.reduce_all(tf.math.is_finite(g))) for g in known):
                return step(gradients, weights)
            return None

        optimizer.apply = apply

    return remade(workload, guard)
