"""What the forward pass of one step shows: per layer its output, per activation its units, per loss what enters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from gradscope.idle import Idle
from gradscope.notes import MEASURED, activation_note, activation_subject, batch_size, input_note, layer_note
from gradscope.row import Note

from gradscope_jax import functions, measure
from gradscope_jax.graph import Graph
from gradscope_jax.layers import DATA, SIGNAL, Dataflow, Layer, is_float
from gradscope_jax.origins import Call, Origins
from gradscope_jax.plan import Plan


def plans_of(graph: Graph, flow: Dataflow) -> list[Plan]:
    """The notes to take of a graph."""
    origins = Origins(graph, flow)
    losses = functions.comparisons(graph, origins)
    plans = [_layer(graph, layer) for layer in flow.layers]
    plans += [p for layer in flow.layers if (p := _input(graph, flow, layer)) is not None]
    plans += _activations(graph, flow, origins)
    plans += _root(graph, flow, losses)
    return [p for p in [*plans, *losses] if all(math.prod(graph.shapes[s]) for s in p.slots)]


def _layer(graph: Graph, layer: Layer) -> Plan:
    shape, operation = graph.shapes[layer.output], layer.type.lower()
    note = layer_note(layer.module, None, shape=shape, type=layer.type, source=layer.line, operation=operation)
    slots = (layer.output,) if layer.given is None else (layer.output, layer.given)
    return Plan(note, slots, lambda out, given=None: measure.output_statistics(out, given), order=layer.at)


def _input(graph: Graph, flow: Dataflow, layer: Layer) -> Plan | None:
    """What enters a layer from outside, unless that is a choice of rows."""
    given = layer.given
    if given is None or flow.kinds[given] != DATA or not is_float(graph, given) or layer.type == "Embedding":
        return None
    shape = graph.shapes[given]

    def values(data: Any) -> Any:
        found = measure.data_statistics(data)
        return jnp.append(found, jnp.asarray(batch_size(shape), found.dtype))

    note = input_note(layer.module, None, shape=shape, consumer=layer.type, source=layer.line)
    return Plan(note, (given,), values)


def _activations(graph: Graph, flow: Dataflow, origins: Origins) -> list[Plan]:
    found: dict[str, Plan] = {}
    for call in origins.calls:
        layer = origins[call.output].layer
        shape = graph.shapes[call.output]
        if call.name not in MEASURED or not shape or flow.kinds[call.output] != SIGNAL:
            continue
        if activation_subject(call.name, layer) not in found:
            output = call.output not in flow.before_layers
            note = activation_note(call.name, layer, None, shape=shape, output=output, source=call.line)
            found[note.subject] = _activation(call, note)
    return list(found.values())


def _activation(call: Call, note: Note) -> Plan:
    def of_relu(out: Any) -> Any:
        zeros = (out == 0).mean().reshape(1)
        return jnp.concatenate([zeros, measure.inactive_units(out).astype(zeros.dtype)])

    def of_others(out: Any) -> Any:
        return measure.saturated_fraction(out, call.name).reshape(1)

    if call.name == "relu":
        return Plan(note, (call.output,), of_relu, "inactive", call.at)
    return Plan(note, (call.output,), of_others, order=call.at)


def _root(graph: Graph, flow: Dataflow, losses: list[Plan]) -> list[Plan]:
    """The output of the whole model: what is compared with the target, or what the last layer returns."""
    compared = [p for p in losses if p.note.traits["function"] != "log"]
    if compared:
        slot, line = compared[0].slots[0], None
    elif flow.layers:
        slot, line = flow.layers[-1].output, flow.layers[-1].line
    else:
        return []
    shape = graph.shapes[slot]
    note = layer_note("output", None, shape=shape, type="output", source=line, root=True, parameters=False)
    return [Plan(note, (slot,), lambda out: measure.output_statistics(out, None), order=len(graph.instructions))]


class Forward:
    """Turns what was measured into notes; remembers how long units have been idle."""

    def __init__(self) -> None:
        self._idle = Idle()

    def notes(
        self, plans: Sequence[Plan], measured: Sequence[Any], shapes: Sequence[tuple[int, ...]]
    ) -> tuple[list[Note], list[tuple[str, Any]]]:
        """(notes, counts of classes by site). measured: an array of the host for each plan."""
        notes: list[Note] = []
        classes: list[tuple[str, Any]] = []
        modules = sorted((p for p in plans if p.note.table == "module"), key=lambda p: p.order)
        ranks = {id(plan): at for at, plan in enumerate(modules)}
        for plan, found in zip(plans, measured, strict=True):
            note, values = plan.note, np.asarray(found, "f8")
            if note.table == "module":
                values = np.append(ranks[id(plan)], values)
            if plan.tail == "classes":
                count = len(note.quantities)
                classes.append((note.subject, values[count:]))
                values = values[:count]
            elif plan.tail == "inactive":
                samples = math.prod(shapes[plan.slots[0]][:-1])
                values = np.append(values[:2], self._dead(note.subject, values[2:] > 0, samples))
            notes.append(replace(note, values=values))
        return notes, classes

    def _dead(self, subject: str, inactive: Any, samples: int) -> float:
        dead = self._idle.dead(subject, inactive, samples)
        return math.nan if dead is None else float(dead.mean())
