"""Layers: where trained weights meet data in a graph. It holds for raw trees of arrays, flax and equinox alike, as it
asks the computation and not the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gradscope_jax.graph import Graph, Instruction
from gradscope_jax.names import Leaf

CONSTANT, WEIGHT, DATA, SIGNAL = range(4)
"""What a slot depends on: nothing, weights alone, data alone, both."""
TYPES = {
    "dot_general": "Linear",
    "conv_general_dilated": "Conv",
    "gather": "Embedding",
    "dynamic_slice": "Embedding",
    "scan": "Recurrent",
    "while": "Recurrent",
    "cond": "Branch",
}
"""Primitives that begin a layer, and what it is called."""
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "add_any"})
VIEWS = frozenset(
    {
        "broadcast_in_dim",
        "convert_element_type",
        "copy",
        "expand_dims",
        "gather",
        "layer",
        "reshape",
        "slice",
        "squeeze",
        "stack",
        "transpose",
    }
)
"""What leaves numbers as they are."""
STOPS = frozenset({"stop_gradient", "sign", "floor", "ceil", "round"})
MOST_LEAVES = 8
"""A slot made of more weights than these is a penalty on them, and no layer."""


@dataclass(slots=True)
class Layer:
    """One use of a module: what entered and what left. Slots of the graph."""

    module: str
    type: str
    given: int | None
    output: int
    at: int
    line: str | None
    leaves: set[int] = field(default_factory=set)


class Dataflow:
    """What every slot depends on, the layers in the order in which they run, and which weights a gradient reaches."""

    def __init__(self, graph: Graph, leaves: Mapping[int, Leaf]):
        """leaves: the trained weights by their slot."""
        self.graph = graph
        self.leaves = leaves
        self.kinds = [CONSTANT] * len(graph.shapes)
        self.weights: dict[int, frozenset[int]] = {}
        self.layers: list[Layer] = []
        self.by_module: dict[str, Layer] = {}
        self.uses: dict[int, list[int]] = {}
        self.again: dict[int, Layer] = {}
        """Slot of the output of a further use of a layer's weights -> the layer."""
        self._carrier: dict[int, Layer] = {}
        for slot in graph.inputs:
            self.kinds[slot] = WEIGHT if slot in leaves or slot in graph.stacked else DATA
        for slot in leaves:
            self.kinds[slot] = WEIGHT
            self.weights[slot] = frozenset([slot])
        for at, instruction in enumerate(graph.instructions):
            for slot in instruction.inputs:
                self.uses.setdefault(slot, []).append(at)
            self._follow(at, instruction)
        self.before_layers = self._before_layers()

    # -- forward ---------------------------------------------------------------------------------------------------

    def _follow(self, at: int, instruction: Instruction) -> None:
        kinds = {self.kinds[s] for s in instruction.inputs}
        kind = SIGNAL if {WEIGHT, DATA} <= kinds else max(kinds, default=CONSTANT)
        made = frozenset().union(*(self.weights.get(s, frozenset()) for s in instruction.inputs))
        for out in instruction.outputs:
            if kind == WEIGHT and out in self.graph.slices:
                continue
            self.kinds[out] = kind
            if kind == WEIGHT:
                self.weights[out] = made
        if kind != SIGNAL:
            return
        entering = [s for s in instruction.inputs if self._is_layer_weight(s)]
        if entering and (instruction.name in TYPES or instruction.name in ARITHMETIC):
            self._meet(at, instruction, entering)
        elif instruction.name in VIEWS and instruction.inputs[0] in self._carrier:
            self._carrier[instruction.outputs[0]] = self._carrier[instruction.inputs[0]]

    def _is_layer_weight(self, slot: int) -> bool:
        """Whether a slot holds weights as they are, and not a number that was made of them."""
        found = self.weights.get(slot, frozenset()) if self.kinds[slot] == WEIGHT else frozenset()
        if not 0 < len(found) <= MOST_LEAVES:
            return False
        return self.graph.shapes[slot] != () or all(self.graph.shapes[s] == () for s in found)

    def _meet(self, at: int, instruction: Instruction, entering: list[int]) -> None:
        """Weights meet data or a signal: a layer begins, or the one that is there goes on."""
        others = [s for s in instruction.inputs if s not in entering and self.kinds[s] in {DATA, SIGNAL}]
        given = next((s for s in others if self.kinds[s] == SIGNAL), others[0] if others else None)
        out = self._main_output(instruction)
        before = self._carrier.get(given) if given is not None else None
        used = [leaf for s in entering for leaf in self.weights[s]]
        for leaf in sorted(used, key=lambda s: -math.prod(self.graph.shapes[s])):
            module = self.leaves[leaf].module
            simple = instruction.name in ARITHMETIC
            if not simple or len(used) == 1:  # a product of several weights is no bias, whatever it is added to
                self.leaves[leaf].matrix = self.leaves[leaf].matrix or not simple
            self.leaves[leaf].fan_in = self.leaves[leaf].fan_in or self._fan_in(instruction, entering[0])
            if simple and module is None and before is not None:
                module = before.module
                self.leaves[leaf].module = module
            module = self.leaves[leaf].name if module is None else module
            self.leaves[leaf].module = module
            known = self.by_module.get(module)
            if known is None:
                kind = TYPES.get(instruction.name, "Scale")
                layer = Layer(module, kind, None if simple else given, out, at, instruction.line)
                self.by_module[module] = layer
                self.layers.append(layer)
            elif leaf in known.leaves or (known.type == "Linear" and not simple):
                self.again[out] = self._carrier[out] = known
                continue
            else:
                layer = known
                layer.output = out
            layer.leaves.add(leaf)
            self._carrier[out] = layer

    def _fan_in(self, instruction: Instruction, weight: int) -> int | None:
        """How many inputs a unit of a matrix product or a convolution sums up; None for anything else."""
        shape, place = self.graph.shapes[weight], instruction.inputs.index(weight)
        numbers = instruction.parameters.get("dimension_numbers")
        if instruction.name == "dot_general" and numbers is not None:
            return math.prod(shape[d] for d in numbers[0][place])
        if instruction.name == "conv_general_dilated" and numbers is not None:
            return math.prod(shape) // max(1, shape[numbers.rhs_spec[0]])
        return None

    def _main_output(self, instruction: Instruction) -> int:
        """The output that a layer is judged by: of several, the last one of floating-point numbers."""
        floats = [s for s in instruction.outputs if is_float(self.graph, s)]
        return floats[-1] if floats else instruction.outputs[0]

    # -- backward --------------------------------------------------------------------------------------------------

    def _before_layers(self) -> set[int]:
        """The slots that some layer depends on."""
        begins = {layer.at for layer in self.layers}
        found: set[int] = set()
        for at in range(len(self.graph.instructions) - 1, -1, -1):
            instruction = self.graph.instructions[at]
            if at in begins or not found.isdisjoint(instruction.outputs):
                found.update(s for s in instruction.inputs if self.kinds[s] in {DATA, SIGNAL})
        return found

    def reached(self) -> set[int]:
        """The weights that are connected to the loss by differentiable operations."""
        found = {self.graph.outputs[0]}
        for instruction in reversed(self.graph.instructions):
            if instruction.name in STOPS or found.isdisjoint(instruction.outputs):
                continue
            if any(is_float(self.graph, s) for s in instruction.outputs if s in found):
                found.update(s for s in instruction.inputs if is_float(self.graph, s))
        return found & set(self.leaves)

    def frozen(self) -> set[int]:
        """The weights that are held still on purpose: a gradient is stopped at the weights themselves."""
        found = set()
        for leaf in self.leaves:
            uses = self.uses.get(leaf, [])
            if uses and all(self._stopped(at) for at in uses):
                found.add(leaf)
        return found

    def _stopped(self, at: int) -> bool:
        instruction = self.graph.instructions[at]
        if instruction.name == "stop_gradient":
            return True
        later = [a for s in instruction.outputs for a in self.uses.get(s, [])]
        return instruction.name in VIEWS and bool(later) and all(self._stopped(a) for a in later)

    def called(self) -> set[str]:
        """The modules whose weights were used at all."""
        return {leaf.module or leaf.name for slot, leaf in self.leaves.items() if slot in self.uses}


def is_float(graph: Graph, slot: int) -> bool:
    """Whether a slot holds floating-point numbers."""
    dtype = graph.dtypes[slot]
    try:
        return dtype is not None and (np.dtype(dtype).kind == "f" or "bfloat16" in str(dtype) or "float8" in str(dtype))
    except TypeError:
        return False
