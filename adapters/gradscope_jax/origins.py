"""Origins: through which function a value passed last, and after which layer, for every slot of a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gradscope.lineage import Lineage

from gradscope_jax.graph import Graph, Instruction
from gradscope_jax.layers import SIGNAL, VIEWS, Dataflow
from gradscope_jax.source import ACTIVATIONS, LOSSES

OPERATIONS = {"logistic": "sigmoid", "tanh": "tanh"}
NAMES = {"log_sigmoid": "logsigmoid"}
"""Names of jax.nn where the other frameworks have another."""
GELU = 0.7978845834732056
"""sqrt(2 / pi): what stands before the tanh of a gelu."""


PROBABLE = frozenset({"sigmoid", "softmax", "clamp"})
"""What a probability passed last; a clamp keeps it from zero and one."""


@dataclass(slots=True)
class Call:
    """One use of a function: an activation or a loss of a library, or an operation that is one by itself."""

    name: str
    inputs: list[int]
    output: int
    at: int
    line: str | None
    instructions: list[Instruction]


class Origins:
    """The calls of a graph in their order, and the origin of each slot."""

    def __init__(self, graph: Graph, flow: Dataflow):
        self.graph = graph
        self.flow = flow
        self.of: dict[int, Lineage] = {}
        self.calls: list[Call] = []
        self.logarithms: dict[int, int] = {}
        """Slot of a logarithm -> slot of the probability it is of."""
        self._layers: dict[int, list[Any]] = {}
        for layer in flow.layers:
            self._layers.setdefault(layer.output, []).append(layer)
        for slot, layer in flow.again.items():
            self._layers.setdefault(slot, []).append(layer)
        for call in self._grouped():
            self._follow(call)

    def __getitem__(self, slot: int) -> Lineage:
        return self.of.get(slot, Lineage())

    def _grouped(self) -> Iterator[Call]:
        """Instructions that a library's function was made of, as one call; every other one by itself."""
        start, instructions = 0, self.graph.instructions
        while start < len(instructions):
            first, end = instructions[start], start + 1
            if first.call in ACTIVATIONS or first.call in LOSSES:
                while end < len(instructions) and (instructions[end].call, instructions[end].line) == (
                    first.call,
                    first.line,
                ):
                    end += 1
                yield self._region(start, end)
            else:
                yield Call("", list(first.inputs), first.outputs[0], start, first.line, [first])
            start = end

    def _region(self, start: int, end: int) -> Call:
        part = self.graph.instructions[start:end]
        made = {s for i in part for s in i.outputs}
        entering = dict.fromkeys(s for i in part for s in i.inputs if s not in made and s not in self.graph.literals)
        used = {s for i in part for s in i.inputs}
        last = next((s for i in reversed(part) for s in i.outputs if self._leaves(s, used, end)), part[-1].outputs[-1])
        return Call(part[0].call, list(entering), last, start, part[0].line, part)

    def _leaves(self, slot: int, used: set[int], end: int) -> bool:
        """Whether a slot of a region is read after it."""
        return slot not in used or any(at >= end for at in self.flow.uses.get(slot, []))

    def _follow(self, call: Call) -> None:
        one = call.instructions[0] if len(call.instructions) == 1 else None
        given = next((s for s in call.inputs if self.flow.kinds[s] == SIGNAL), None)
        before = self[given] if given is not None else Lineage()
        name = call.name or (self._operation(one) if one is not None else "")
        if name == "relu" and not self._of_units(call.output, before.layer):
            name = ""
        if name and given is not None and name not in LOSSES:
            call.name = NAMES.get(name, name) + (" over the batch" if self._over_batch(call) else "")
            after = before.through(call.name, before.layer, self.graph.shapes[call.output])
            self.of[call.output] = replace(after, unit=True) if name == "clamp" and before.unit else after
            self.calls.append(call)
        elif name in LOSSES:
            call.name = name
            self.calls.append(call)
        elif one is not None:
            self.calls.append(call)
            if given is not None and self.flow.kinds[call.output] == SIGNAL:
                kept = before.operation if one.name in VIEWS or self._is_complement(one, before) else ""
                self.of[call.output] = Lineage(kept, before.layer, unit=before.unit and bool(kept))
                if one.name == "log" and (before.operation in PROBABLE or before.unit):
                    self.logarithms[call.output] = given
        for layer in self._layers.get(call.output, []):
            self.of[call.output] = Lineage(layer.type.lower(), layer.module)

    def _of_units(self, slot: int, layer: str) -> bool:
        """Whether a slot holds units of a layer, and not a statistic of them: a variance, kept from falling under 0."""
        shape = self.graph.shapes[slot]
        known = self.flow.by_module.get(layer)
        if known is None:
            return len(shape) > 1
        units = self.graph.shapes[known.output]
        if len(shape) < min(2, len(units)) or not units:
            return False
        return shape[0] == units[0] and (shape[-1] > 1 or units[-1] == 1)

    def _operation(self, one: Instruction) -> str:
        """The activation that a single operation is: relu, sigmoid, tanh, clamp, or ""."""
        if one.name == "max":
            bounds = [c for s in one.inputs if (c := self.constant(s)) is not None]
            return "relu" if 0 in bounds else "clamp" if bounds else ""
        if one.name in {"min", "clamp"} and any(self.constant(s) is not None for s in one.inputs):
            return "clamp"
        if one.name == "tanh" and self._in_gelu(one):
            return "gelu"
        return OPERATIONS.get(one.name, "")

    def _in_gelu(self, one: Instruction) -> bool:
        maker = next((i for i in self.graph.instructions if one.inputs[0] in i.outputs), None)
        return maker is not None and any(self._near(s, GELU) for s in maker.inputs)

    def _near(self, slot: int, value: float) -> bool:
        found = self.constant(slot)
        return found is not None and abs(found - value) < 1e-4

    def constant(self, slot: int) -> float | None:
        """The number in a slot of a constant; None for anything else."""
        value = self.graph.literals.get(slot)
        if value is None:
            maker = next((i for i in self.graph.instructions if slot in i.outputs), None)
            if maker is None or maker.name not in {"broadcast_in_dim", "convert_element_type"}:
                return None
            return self.constant(maker.inputs[0])
        array = np.asarray(value)
        return float(array.ravel()[0]) if array.size == 1 and array.dtype.kind in "fiu" else None

    def _is_complement(self, one: Instruction, before: Lineage) -> bool:
        """1 - p of a probability is one too."""
        return one.name == "sub" and before.operation == "sigmoid" and self.constant(one.inputs[0]) == 1

    def _over_batch(self, call: Call) -> bool:
        """Whether a softmax normalizes over the first of two dimensions, of a batch of more than one."""
        shape = self.graph.shapes[call.output]
        if "softmax" not in call.name or len(shape) != 2 or shape[0] < 2:
            return False
        sums = [i for i in call.instructions if i.name in {"reduce_max", "reduce_sum"}]
        return bool(sums) and all(tuple(i.parameters.get("axes", ())) == (0,) for i in sums)
