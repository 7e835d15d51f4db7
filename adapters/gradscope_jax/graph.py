"""Graph: a traced function as one flat list of instructions, whatever calls were nested in it.

Calls that are only calls (jit, remat, custom derivatives) are inlined; a scan over layers that are stacked along the
first axis of their weights is unrolled. Loops over time, branches and while loops stay one instruction each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradscope_jax.source import ACTIVATIONS, is_library_function, place_of

INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
"""Primitives that are calls, and the parameter that holds what they call."""
MOST_LAYERS = 128
"""A scan over more layers than these stays one instruction."""


@dataclass(slots=True, eq=False)
class Instruction:
    """One step of the computation: reads slots, writes slots."""

    name: str
    run: Callable[..., Sequence[Any]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    call: str = ""
    line: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """Slots hold values; `shapes` and `dtypes` by slot. Inputs come first."""

    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    literals: dict[int, Any] = field(default_factory=dict)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    dtypes: list[Any] = field(default_factory=list)
    stacked: dict[int, int] = field(default_factory=dict)
    """Input slot -> how many layers are stacked in it."""
    slices: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Slot of one layer's weights -> (input slot it was cut from, which layer)."""

    def slot(self, aval: Any) -> int:
        """A new slot."""
        self.shapes.append(tuple(getattr(aval, "shape", ())))
        self.dtypes.append(getattr(aval, "dtype", None))
        return len(self.shapes) - 1

    def literal(self, value: Any, aval: Any) -> int:
        """A new slot with a constant in it."""
        slot = self.slot(aval)
        self.literals[slot] = value
        return slot

    def run(self, values: Sequence[Any], wanted: set[int] | None = None) -> dict[int, Any]:
        """The value of every slot, or of what is wanted and needed on the way."""
        env: dict[int, Any] = dict(self.literals)
        env.update(zip(self.inputs, values, strict=True))
        needed = self.needed(wanted) if wanted is not None else None
        for at, instruction in enumerate(self.instructions):
            if needed is None or at in needed:
                found = instruction.run(*[env[s] for s in instruction.inputs])
                env.update(zip(instruction.outputs, found, strict=True))
        return env

    def needed(self, wanted: set[int]) -> set[int]:
        """The instructions that the wanted slots depend on."""
        slots, found = set(wanted), set()
        for at in range(len(self.instructions) - 1, -1, -1):
            instruction = self.instructions[at]
            if not slots.isdisjoint(instruction.outputs):
                found.add(at)
                slots.update(instruction.inputs)
        return found


def flatten(closed: Any, weights: Sequence[int]) -> Graph:
    """The graph of a closed jaxpr. Its inputs are the constants, then the arguments.

    weights: which of the arguments are trained.
    """
    graph = Graph()
    jaxpr = closed.jaxpr
    env = {v: graph.slot(v.aval) for v in [*jaxpr.constvars, *jaxpr.invars]}
    graph.inputs = [env[v] for v in [*jaxpr.constvars, *jaxpr.invars]]
    trained = {graph.inputs[len(jaxpr.constvars) + at] for at in weights}
    _inline(graph, jaxpr, env, trained, None)
    graph.outputs = [_read(graph, env, v) for v in jaxpr.outvars]
    return graph


def _read(graph: Graph, env: dict[Any, int], atom: Any) -> int:
    return graph.literal(atom.val, atom.aval) if hasattr(atom, "val") else env[atom]


def _inline(
    graph: Graph, jaxpr: Any, env: dict[Any, int], trained: set[int], outer: tuple[str, str | None] | None
) -> None:
    """Adds the equations of a jaxpr. outer: the place that counts for all of them, when they are a library's."""
    for equation in jaxpr.eqns:
        inputs = [_read(graph, env, v) for v in equation.invars]
        call, line = outer or place_of(equation)
        name = equation.primitive.name
        label = equation.params.get("name", "") if name in INLINED else ""
        if not call and label in ACTIVATIONS:
            call = label
        inner = equation.params.get(INLINED[name]) if name in INLINED else None
        if inner is not None:
            outputs = _call(graph, inner, inputs, trained, (call, line))
        elif name == "scan" and _over_layers(equation, inputs, trained):
            outputs = _unroll(graph, equation, inputs, trained)
        else:
            outputs = [graph.slot(v.aval) for v in equation.outvars]
            run = _runner(equation)
            graph.instructions.append(
                Instruction(name, run, tuple(inputs), tuple(outputs), call, line, equation.params)
            )
        env.update(zip(equation.outvars, outputs, strict=True))


def _call(graph: Graph, inner: Any, inputs: list[int], trained: set[int], place: tuple[str, str | None]) -> list[int]:
    """Inlines what a call calls. The lines of a library's function are those of its caller."""
    jaxpr, constants = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
    env = {v: graph.literal(c, v.aval) for v, c in zip(jaxpr.constvars, constants, strict=True)}
    env.update(zip(jaxpr.invars, inputs, strict=True))
    debug = getattr(jaxpr, "debug_info", None)
    library = place[0] or is_library_function(getattr(debug, "func_src_info", None) or "")
    _inline(graph, jaxpr, env, trained, place if library and place[1] else None)
    return [_read(graph, env, v) for v in jaxpr.outvars]


def _runner(equation: Any) -> Callable[..., Sequence[Any]]:
    """What evaluates one equation."""
    primitive = equation.primitive
    found = primitive.get_bind_params(equation.params)
    functions, parameters = found if isinstance(found, tuple) else ((), found)  # a pair before JAX 0.10

    def run(*values: Any) -> Sequence[Any]:
        result = primitive.bind(*functions, *values, **parameters)
        return result if primitive.multiple_results else [result]

    return run


# -- layers that are stacked -------------------------------------------------------------------------------------------


def _over_layers(equation: Any, inputs: list[int], trained: set[int]) -> bool:
    """Whether a scan runs over the first axis of trained weights."""
    p = equation.params
    scanned = inputs[p["num_consts"] + p["num_carry"] :]
    return 1 < p["length"] <= MOST_LAYERS and any(s in trained for s in scanned) and not p["reverse"]


def _unroll(graph: Graph, equation: Any, inputs: list[int], trained: set[int]) -> list[int]:
    """A scan as so many copies of its body. Gives the slots of its results."""
    p = equation.params
    constants, carry = inputs[: p["num_consts"]], inputs[p["num_consts"] :][: p["num_carry"]]
    scanned = inputs[p["num_consts"] + p["num_carry"] :]
    rows: list[list[int]] = []
    for at in range(p["length"]):
        cut = [_slice(graph, s, at, s in trained) for s in scanned]
        for slot in scanned:
            if slot in trained:
                graph.stacked[slot] = p["length"]
        outputs = _call(graph, p["jaxpr"], [*constants, *carry, *cut], trained | set(graph.slices), ("", None))
        carry = outputs[: p["num_carry"]]
        rows.append(outputs[p["num_carry"] :])
    return [*carry, *(_stack(graph, list(column)) for column in zip(*rows, strict=True))]


def _slice(graph: Graph, slot: int, at: int, trained: bool) -> int:
    out = len(graph.shapes)
    graph.shapes.append(graph.shapes[slot][1:])
    graph.dtypes.append(graph.dtypes[slot])
    graph.instructions.append(Instruction("layer", lambda x: [x[at]], (slot,), (out,)))
    if trained:
        graph.slices[out] = slot, at
    return out


def _stack(graph: Graph, slots: list[int]) -> int:
    import jax.numpy as jnp

    out = len(graph.shapes)
    graph.shapes.append((len(slots), *graph.shapes[slots[0]]))
    graph.dtypes.append(graph.dtypes[slots[0]])
    graph.instructions.append(Instruction("stack", lambda *x: [jnp.stack(x)], tuple(slots), (out,)))
    return out
