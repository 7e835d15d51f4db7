"""What the forward pass of one step shows: per layer its output, per activation its units, per loss what enters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from gradscope.row import Note
from gradscope.statistics import MODULE_STATISTICS

from gradscope_jax import functions, measure
from gradscope_jax.graph import Graph
from gradscope_jax.layers import DATA, SIGNAL, Dataflow, is_float
from gradscope_jax.origins import Call, Origins
from gradscope_jax.plan import Plan

ENOUGH_SAMPLES = 128
"""A unit counts as dead when it was zero for this many samples in a row (a single batch may miss a rare unit)."""
SEEN = ("relu", "sigmoid", "tanh")
"""Activations whose units are looked at."""


def plans_of(graph: Graph, flow: Dataflow) -> list[Plan]:
    """The notes to take of a graph."""
    origins = Origins(graph, flow)
    losses = functions.comparisons(graph, origins)
    plans = [_layer(graph, layer) for layer in flow.layers]
    plans += [p for layer in flow.layers if (p := _input(graph, flow, layer)) is not None]
    plans += _activations(graph, flow, origins)
    plans += _root(graph, flow, losses)
    return [p for p in [*plans, *losses] if all(math.prod(graph.shapes[s]) for s in p.slots)]


def _layer(graph: Graph, layer: Any) -> Plan:
    shape = graph.shapes[layer.output]
    traits = {
        "root": False,
        "training": True,
        "units": shape[-1] if shape else 1,
        "operation": layer.type.lower(),
        "parameters": True,
    }
    slots = (layer.output,) if layer.given is None else (layer.output, layer.given)
    return Plan(
        "module",
        layer.module,
        MODULE_STATISTICS,
        slots,
        lambda out, given=None: measure.output_statistics(out, given),
        traits,
        layer.module,
        layer.line,
        layer.type,
        order=layer.at,
    )


def _input(graph: Graph, flow: Dataflow, layer: Any) -> Plan | None:
    """What enters a layer from outside, unless that is a choice of rows."""
    given = layer.given
    if given is None or flow.kinds[given] != DATA or not is_float(graph, given) or layer.type == "Embedding":
        return None
    shape = graph.shapes[given]
    size = float(shape[0]) if len(shape) > 1 else math.nan
    quantities = ("mean", "deviation", "abs_max", "feature_ratio", "largest_feature", "nonfinite", "batch_size")
    traits = {"shape": shape, "consumer": layer.type}

    def values(data: Any) -> Any:
        found = measure.data_statistics(data)
        return jnp.append(found, jnp.asarray(size, found.dtype))

    return Plan("input", layer.module, quantities, (given,), values, traits, layer.module, layer.line, "input")


def _activations(graph: Graph, flow: Dataflow, origins: Origins) -> list[Plan]:
    found: dict[str, Plan] = {}
    for call in origins.calls:
        layer = origins[call.output].layer
        shape = graph.shapes[call.output]
        if call.name not in SEEN or not shape or flow.kinds[call.output] != SIGNAL:
            continue
        subject = f"{layer} > {call.name}" if layer else call.name
        if subject in found:
            continue
        traits = {
            "activation": call.name,
            "units": shape[-1],
            "output": call.output not in flow.before_layers,
        }
        found[subject] = _activation(call, subject, layer, traits)
    return list(found.values())


def _activation(call: Call, subject: str, layer: str, traits: dict[str, Any]) -> Plan:
    if call.name == "relu":

        def values(out: Any) -> Any:
            zeros = (out == 0).mean().reshape(1)
            return jnp.concatenate([zeros, measure.inactive_units(out).astype(zeros.dtype)])

        quantities, tail = ("zero_fraction",), "inactive"
    else:

        def values(out: Any) -> Any:
            return measure.saturated_fraction(out, call.name).reshape(1)

        quantities, tail = ("saturated_fraction",), ""
    return Plan(
        *("module", subject, quantities, (call.output,), values),
        traits,
        layer,
        call.line,
        call.name,
        tail,
        call.at,
    )


def _root(graph: Graph, flow: Dataflow, losses: list[Plan]) -> list[Plan]:
    """The output of the whole model: what is compared with the target, or what the last layer returns."""
    compared = [p for p in losses if p.traits["function"] != "log"]
    if compared:
        slot, line = compared[0].slots[0], None
    elif flow.layers:
        slot, line = flow.layers[-1].output, flow.layers[-1].line
    else:
        return []
    shape = graph.shapes[slot]
    traits = {
        "root": True,
        "training": True,
        "units": shape[-1] if shape else 1,
        "operation": "",
        "parameters": False,
    }
    return [
        Plan(
            "module",
            "output",
            MODULE_STATISTICS,
            (slot,),
            lambda out: measure.output_statistics(out, None),
            traits,
            "output",
            line,
            "output",
            order=len(graph.instructions),
        )
    ]


class Forward:
    """Turns what was measured into notes; remembers how long units have been idle."""

    def __init__(self) -> None:
        self._idle: dict[str, Any] = {}
        self._samples: dict[str, int] = {}

    def notes(
        self, plans: Sequence[Plan], measured: Sequence[Any], shapes: Sequence[tuple[int, ...]]
    ) -> tuple[list[Note], list[tuple[str, Any]]]:
        """(notes, counts of classes by site). measured: an array of the host for each plan."""
        notes: list[Note] = []
        classes: list[tuple[str, Any]] = []
        ranks = {id(p): at for at, p in enumerate(sorted((p for p in plans if p.table == "module"), key=_order))}
        for plan, found in zip(plans, measured, strict=True):
            quantities, values = plan.quantities, np.asarray(found, "f8")
            values, rest = values[: len(quantities)], values[len(quantities) :]
            if plan.tail == "classes":
                classes.append((plan.subject, rest))
            elif plan.tail == "inactive":
                samples = math.prod(shapes[plan.slots[0]][:-1])
                quantities = (*quantities, "dead_fraction")
                values = np.append(values, self._dead(plan.subject, rest > 0, samples))
            if plan.table == "module":
                quantities, values = ("order", *quantities), np.append(ranks[id(plan)], values)
            known = ~np.isnan(values) | np.array([q in KEPT for q in quantities])
            names = tuple(q for q, k in zip(quantities, known, strict=True) if k)
            notes.append(
                Note(plan.table, plan.subject, names, values[known], plan.traits, plan.module, plan.source, plan.type)
            )
        return notes, classes

    def _dead(self, subject: str, inactive: Any, samples: int) -> float:
        idle = self._idle.get(subject)
        if idle is None or idle.shape != inactive.shape:
            idle, self._samples[subject] = np.zeros(len(inactive)), 0
        self._idle[subject] = idle = np.where(inactive, idle + samples, 0)
        self._samples[subject] += samples
        if self._samples[subject] < ENOUGH_SAMPLES:
            return math.nan
        return float((idle >= ENOUGH_SAMPLES).mean())


KEPT = frozenset({"value", *functions.RANGES, *MODULE_STATISTICS})
"""Quantities whose NaN means a NaN, and not that nobody knows."""


def _order(plan: Plan) -> int:
    return plan.order
