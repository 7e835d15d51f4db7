"""Notes: what a forward pass shows, said in the same words by every adapter. Numbers may be the framework's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradscope.history import INPUT
from gradscope.lineage import Lineage
from gradscope.row import Note
from gradscope.statistics import MODULE_STATISTICS

LAYER = ("order", *MODULE_STATISTICS)
MEASURED = frozenset({"relu", "sigmoid", "tanh"})
"""Activations whose units are looked at."""


def layer_note(
    name: str,
    values: Any,
    *,
    shape: Sequence[int],
    type: str,
    source: str | None,
    operation: str = "",
    root: bool = False,
    training: bool = True,
    parameters: bool = True,
    quantities: tuple[str, ...] = LAYER,
) -> Note:
    """What a layer put out. values: of `quantities`. shape: of its output. parameters: whether it has some itself."""
    traits = {
        "root": root,
        "training": training,
        "units": units_of(shape),
        "operation": operation,
        "parameters": parameters,
    }
    return Note("module", name, quantities, values, traits, name, source, type)


def input_note(name: str, values: Any, *, shape: Sequence[int], consumer: str, source: str | None) -> Note:
    """What entered a layer from outside. values: of INPUT. consumer: the type of the layer."""
    return Note("input", name, INPUT, values, {"shape": tuple(shape), "consumer": consumer}, name, source, "input")


def units_of(shape: Sequence[int]) -> int:
    """The last dimension; one where there is none."""
    return int(shape[-1]) if len(shape) else 1


def batch_size(shape: Sequence[int]) -> float:
    """The first of several dimensions; NaN where there is one at most."""
    return float(shape[0]) if len(shape) > 1 else math.nan


def activation_subject(operation: str, layer: str) -> str:
    """The name of an activation function behind a layer."""
    return f"{layer} > {operation}" if layer else operation


def activation_note(
    operation: str, layer: str, values: Any, *, shape: Sequence[int], output: bool, source: str | None = None
) -> Note:
    """What an activation function put out. values: its order; of relu its zero_fraction and dead_fraction, of others
    their saturated_fraction. shape: of what it put out. output: it stands outside of every layer."""
    shown = ("zero_fraction", "dead_fraction") if operation == "relu" else ("saturated_fraction",)
    traits = {"activation": operation, "units": units_of(shape), "output": output}
    subject = activation_subject(operation, layer)
    return Note("module", subject, ("order", *shown), values, traits, layer, source, operation)


def site_of(function: str, line: str | None) -> str:
    """The name of the call of a loss in a line, "file:line"."""
    return f"{function} at {line or '?'}"


def comparison_traits(
    function: str, origin: Lineage, prediction: Sequence[int], target: Sequence[int], *, classes: bool
) -> dict[str, Any]:
    """What does not change from step to step of a prediction that meets its target. prediction, target: their shapes.
    classes: the targets are labels."""
    return {
        "function": function,
        "prediction_shape": tuple(prediction),
        "target_shape": tuple(target),
        "operation": origin.operation,
        "one_unit_softmax": origin.unit,
        "layer": origin.layer,
        "classes": classes,
    }


def loss_note(site: str, quantities: Sequence[str], values: Any, traits: dict[str, Any]) -> Note:
    """What entered a loss. site: as site_of() names it."""
    line = site.partition(" at ")[2]
    source = line if line != "?" else None
    return Note("loss", site, tuple(quantities), values, traits, traits["layer"], source, traits["function"])


def logarithm_note(origin: Lineage, margin: Any, line: str | None) -> Note:
    """log of a probability, unprotected. margin: how near to zero its argument came."""
    traits = {"function": "log", "operation": origin.operation, "layer": origin.layer, "classes": False}
    return loss_note(site_of("log", line), ("margin",), margin, traits)
