"""Observation: what a history is told of a step of the reference, in the words of every other framework."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope import statistics
from gradscope.history import History
from gradscope.idle import Idle
from gradscope.lineage import Lineage
from gradscope.notes import MEASURED, activation_note, activation_subject, batch_size, input_note, layer_note
from gradscope.parameters import name_parameters, parameter
from gradscope.reference.comparison import compared
from gradscope.reference.layers import Array
from gradscope.reference.losses import Loss
from gradscope.reference.model import Model
from gradscope.row import Note, Row, write

Named = Mapping[str, Array]
SHAPES = frozenset({"relu", "sigmoid", "tanh", "softmax", "leakyrelu", "elu", "gelu"})
"""Layers that shape the range of a signal."""


@dataclass(slots=True)
class Batch:
    """What one batch of a step showed: its input, the output of every layer, its target and its loss."""

    given: Array
    seen: list[Array]
    target: Array
    loss: float


@dataclass(slots=True)
class Taken:
    """One step. clipped: (norm of all gradients before clipping, the limit), or None."""

    number: int
    rate: float
    batches: Sequence[Batch]
    gradients: Named
    before: Named
    after: Named
    clipped: tuple[float, float] | None = None

    @property
    def loss(self) -> float:
        """The mean over its batches."""
        return float(np.mean([b.loss for b in self.batches]))


class Observation:
    """Writes the steps of one training into a history."""

    def __init__(self, history: History, model: Model, loss: Loss):
        self.history = history
        self.network = model.network
        self.loss = loss
        self._idle = Idle()
        self._direction: Array | None = None
        layers = {layer.name: layer for layer in self.network.layers}
        subjects = []
        for name, weight in model.weights.items():
            module = name.rpartition(".")[0]
            fan_in = math.prod(weight.shape[:-1]) if weight.ndim > 1 else 1
            subjects.append(
                parameter(
                    name,
                    module,
                    shape=weight.shape,
                    fan_in=fan_in,
                    dtype=str(weight.dtype),
                    optimized=True,
                    elsewhere=False,
                    trainable=True,
                    owner=layers.get(module),
                )
            )
        name_parameters(history, subjects)

    def note(self, step: Taken) -> None:
        """Writes one step, measured in full."""
        gradients = list(step.gradients.values())
        width = len(gradients)
        row = Row(step.number, width, list(range(width)), [], [statistics.l2_norm(g) for g in gradients])
        row.losses = [(b.loss, None) for b in step.batches]
        row.values = {"learning_rate": step.rate, "backward_passes": len(step.batches), "skipped": 0.0}
        if step.number:
            row.values["carried_over"] = 0.0
        if step.clipped is not None:
            row.values["clip_before"], row.values["clip_limit"] = step.clipped
        last, self._direction = self._direction, statistics.sample(gradients)
        if last is not None:
            row.values["gradient_cosine"] = statistics.cosine(last, self._direction)
        row.parameters = np.array([details(step, name) for name in step.gradients])
        for batch in step.batches[:1]:
            row.notes = self._layers(batch)
        for batch in step.batches[-1:]:
            origin = self._origin(batch)
            row.notes += compared(self.loss, batch.seen[-1], batch.target, batch.loss, origin, row.classes)
        with np.errstate(all="ignore"):
            write(self.history, [row])

    def _layers(self, batch: Batch) -> list[Note]:
        """The network as a whole, its layers with weights, and its activations, in the order in which they end."""
        notes: list[Note] = []
        given, operation, behind = batch.given, "", ""
        for layer, out in zip(self.network.layers, batch.seen, strict=True):
            kind = type(layer).__name__
            if layer.shapes():
                if not behind:
                    values = [*statistics.data_statistics(given), batch_size(given.shape)]
                    notes.append(input_note(layer.name, values, shape=given.shape, consumer=kind, source=None))
                operation, behind = kind.lower(), layer.name
                values = [len(notes), *statistics.output_statistics(out, given)]
                about: dict[str, Any] = {"shape": out.shape, "type": kind, "source": None, "operation": operation}
                notes.append(layer_note(layer.name, values, **about))
            elif kind.lower() in SHAPES:
                operation = kind.lower()
                if operation in MEASURED and behind:
                    notes.append(self._activation(operation, behind, out, len(notes)))
            given = out
        whole = [len(notes), *statistics.output_statistics(given, batch.given)]
        about = {"shape": given.shape, "type": "Network", "source": None, "operation": operation}
        notes.append(layer_note("", whole, root=True, parameters=False, **about))
        return notes

    def _activation(self, operation: str, layer: str, out: Array, order: int) -> Note:
        if operation == "relu":
            dead = self._idle.dead(activation_subject(operation, layer), *statistics.inactive_units(out))
            found = [statistics.zero_fraction(out), math.nan if dead is None else float(dead.mean())]
        else:
            found = [statistics.saturated_fraction(out, operation)]
        return activation_note(operation, layer, [order, *found], shape=out.shape, output=False)

    def _origin(self, batch: Batch) -> Lineage:
        """Where the prediction came from."""
        origin = Lineage()
        for layer, out in zip(self.network.layers, batch.seen, strict=True):
            kind = type(layer).__name__.lower()
            if layer.shapes():
                origin = Lineage(kind, layer.name, is_output=True)
            elif kind in SHAPES:
                origin = origin.through(kind, origin.layer, out.shape)
        return origin


def details(step: Taken, name: str) -> list[float]:
    """PARAMETER_QUANTITIES of one parameter."""
    gradient, before, after = step.gradients[name], step.before[name], step.after[name]
    change, moved = statistics.parameter_change(before, after)
    return [
        statistics.zero_fraction(gradient),
        statistics.abs_max(gradient),
        statistics.underflow_fraction(gradient),
        statistics.l2_norm(before),
        statistics.deviation(before),
        change,
        moved,
        statistics.nonfinite_count(after),
    ]
