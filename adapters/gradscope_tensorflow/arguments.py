"""What watch() takes of Keras."""

from __future__ import annotations

from typing import Any

import keras
from gradscope.errors import CannotJudge, UsageError


def check_arguments(models: list[Any], optimizers: list[Any]) -> None:
    """Raises UsageError for what is no model or optimizer, CannotJudge for a model that has nothing to train."""
    for model in models:
        if not isinstance(model, keras.Layer):
            raise UsageError(f"watch(): expected a keras.Model, got {type(model).__name__} {model!r:.80}")
    for optimizer in optimizers:
        if not isinstance(optimizer, keras.Optimizer):
            raise UsageError(f"watch(): expected a keras.Optimizer, got {type(optimizer).__name__}")
    if not optimizers:
        raise UsageError("watch(): the model has no optimizer yet; call it after compile(), or hand it the optimizer")
    if all(m.built and not m.trainable_variables for m in models):
        kinds = ", ".join(type(m).__name__ for m in models)
        raise CannotJudge(f"watch(): {kinds} has no weight that is trained; there is nothing to judge")
