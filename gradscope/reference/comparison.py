"""Comparison: what a loss of the reference was given, in the words of every other framework."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from gradscope.history import Array
from gradscope.lineage import Lineage
from gradscope.notes import comparison_traits, logarithm_note, loss_note, site_of
from gradscope.reference.losses import (
    Loss,
    log_loss,
    mean_squared_error,
    softmax_cross_entropy,
)
from gradscope.row import Note
from gradscope.statistics import probability_margin, spread

FUNCTIONS: dict[Loss, str] = {mean_squared_error: "mse_loss", softmax_cross_entropy: "cross_entropy"}
"""The names that the rules know; another loss is known by its own, and its value is taken for what it is."""


def compared(
    loss: Loss, prediction: Array, target: Array, value: float, origin: Lineage, classes: list[tuple[str, Any]]
) -> list[Note]:
    """Notes of the comparison, and of the logarithm in a log_loss. classes: gets the counts of labels."""
    if not prediction.size or not np.size(target):
        return []
    if loss is log_loss:
        return [logarithm_note(origin, float(min(prediction.min(), 1 - prediction.max())), None)]
    name = getattr(loss, "__name__", type(loss).__name__)
    function = FUNCTIONS.get(loss, name)
    site = site_of(name, None)
    labels = loss is softmax_cross_entropy
    traits = comparison_traits(function, origin, prediction.shape, np.shape(target), classes=labels)
    values: dict[str, float] = {"value": value} if loss in FUNCTIONS else {}
    values |= named("prediction", prediction)
    values["batch_size"] = prediction.shape[0] if prediction.ndim else 1
    if labels:
        counts = np.bincount(np.asarray(target).ravel(), minlength=prediction.shape[-1]).astype("f8")
        classes.append((site, counts))
        values["margin"] = probability_margin(prediction)
        values["target_purity"] = float(np.square(counts / max(counts.sum(), 1)).sum())
        values["target_elements"] = float(counts.sum())
    else:
        values |= of_values(prediction, np.asarray(target))
    return [loss_note(site, tuple(values), list(values.values()), traits)]


def of_values(prediction: Array, target: Array) -> dict[str, float]:
    """Ranges of the target, whether shapes broadcast, and the squared error of the prediction."""
    p, t = prediction.size, target.size
    try:
        elements = prod(np.broadcast_shapes(prediction.shape, target.shape))
    except ValueError:  # a loss of its own kind
        elements = max(p, t)
    values = named("target", target)
    values |= {"prediction_elements": p, "target_elements": t, "loss_elements": elements}
    values["broadcast"] = float(elements > max(p, t))
    if p == t and t > 1:
        error = prediction.reshape(-1).astype("f8") - target.reshape(-1).astype("f8")
        values["prediction_squared_error"] = float(np.square(error).mean())
    return values


def named(what: str, values: Array) -> dict[str, float]:
    """Mean, deviation, min and max, by the names of the table of losses."""
    parts = ("mean", "deviation", "min", "max")
    return {f"{what}_{part}": float(v) for part, v in zip(parts, spread(values), strict=True)}
