"""Where a number that is not finite was born: the instructions of the step are run one by one, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradscope_jax.evaluation import Evaluation, Traced
from gradscope_jax.graph import Graph, Instruction
from gradscope_jax.layers import is_float


def origin_of(evaluations: Sequence[Evaluation], step: int) -> dict[str, Any] | None:
    """The first cause of a step whose loss or gradients are not finite; None for one that is sound."""
    for one in evaluations:
        if one.traced is None or one.program is None:
            continue
        finite = np.isfinite(one.loss) and all(bool(jnp.isfinite(g).all()) for g in one.gradients)
        if not finite:
            with jax.disable_jit(False):
                found = _forward(one.traced) or _backward(one.traced)
            if found is not None:
                return {**found, "step": step}
    return None


def _forward(traced: Traced) -> dict[str, Any] | None:
    graph = traced.program.graph
    env = dict(graph.literals)
    env.update(zip(graph.inputs, [*traced.constants, *traced.weights, *traced.rest], strict=True))
    for slot in graph.inputs:
        if _bad(graph, env, slot):
            leaf = next(
                (x.name for s, x in zip(traced.program.slots, traced.program.leaves, strict=True) if s == slot), ""
            )
            return _origin(traced, None, "parameter" if leaf else "input", leaf)
    for at, instruction in enumerate(graph.instructions):
        found = instruction.run(*[env[s] for s in instruction.inputs])
        env.update(zip(instruction.outputs, found, strict=True))
        entered = any(_bad(graph, env, s) for s in instruction.inputs)
        if not entered and any(_bad(graph, env, s) for s in instruction.outputs):
            return _origin(traced, at, "forward")
    return None


def _backward(traced: Traced) -> dict[str, Any] | None:
    """The last instruction whose gradient enters finite and leaves it not."""
    graph = traced.program.graph
    env = graph.run([*traced.constants, *traced.weights, *traced.rest])
    cotangents: dict[int, Any] = {graph.outputs[0]: jnp.ones((), env[graph.outputs[0]].dtype)}
    for at in range(len(graph.instructions) - 1, -1, -1):
        instruction = graph.instructions[at]
        coming = [s for s in instruction.outputs if s in cotangents]
        places = [k for k, s in enumerate(instruction.inputs) if is_float(graph, s)]
        if not coming or not places:
            continue
        for slot, gradient in _pull(graph, instruction, places, env, cotangents):
            if not bool(jnp.isfinite(gradient).all()):
                return _origin(traced, at, "backward")
            cotangents[slot] = cotangents[slot] + gradient if slot in cotangents else gradient
    return None


def _pull(
    graph: Graph, instruction: Instruction, places: list[int], env: dict[int, Any], cotangents: dict[int, Any]
) -> list[tuple[int, Any]]:
    given = [env[s] for s in instruction.inputs]
    floats = [k for k, s in enumerate(instruction.outputs) if is_float(graph, s)]

    def run(*moving: Any) -> list[Any]:
        filled = list(given)
        for k, value in zip(places, moving, strict=True):
            filled[k] = value
        found = instruction.run(*filled)
        return [found[k] for k in floats]

    _, pull = jax.vjp(run, *[given[k] for k in places])
    arriving = [
        cotangents.get(s, jnp.zeros(graph.shapes[s], graph.dtypes[s])) for s in (instruction.outputs[k] for k in floats)
    ]
    return list(zip([instruction.inputs[k] for k in places], pull(arriving), strict=True))


def _bad(graph: Graph, env: dict[int, Any], slot: int) -> bool:
    value = env[slot]
    if not is_float(graph, slot) or slot in graph.literals:
        return False  # -inf is a common constant: of masks, and of maxima
    finite = jnp.isfinite(value).all() if graph.dtypes[slot] is not None else True
    return not bool(finite)


def _origin(traced: Traced, at: int | None, direction: str, name: str = "") -> dict[str, Any]:
    if at is None:
        return {"module": name, "op": "", "source": None, "direction": direction}
    graph, flow = traced.program.graph, traced.program.flow
    instruction = graph.instructions[at]
    before = [layer for layer in flow.layers if layer.at <= at]
    return {
        "module": before[-1].module if before else "",
        "op": instruction.call or instruction.name,
        "source": instruction.line,
        "direction": direction,
    }
