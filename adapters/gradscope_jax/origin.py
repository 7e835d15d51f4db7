"""Where a number that is not finite was born: the instructions of the step are run one by one, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradscope.origin import Origin

from gradscope_jax.evaluation import Evaluation, Traced
from gradscope_jax.graph import Graph, Instruction
from gradscope_jax.layers import is_float


def origin_of(evaluations: Sequence[Evaluation], step: int) -> Origin | None:
    """The first cause of a step whose loss or gradients are not finite; None for one that is sound."""
    for one in evaluations:
        if one.traced is None or one.program is None:
            continue
        with jax.disable_jit(False):
            if np.isfinite(one.loss) and bool(_finite(one.gradients)):
                continue
            found = _forward(one.traced, step) or _backward(one.traced, step)
        if found is not None:
            return found
    return None


@jax.jit
def _finite(arrays: list[Any]) -> Any:
    """Whether every number of the arrays is finite."""
    return jnp.stack([jnp.isfinite(a).all() for a in arrays]).all()


def _forward(traced: Traced, step: int) -> Origin | None:
    graph = traced.program.graph
    env = dict(graph.literals)
    env.update(zip(graph.inputs, [*traced.constants, *traced.weights, *traced.rest], strict=True))
    leaves = dict(zip(traced.program.slots, traced.program.leaves, strict=True))
    masked = {s for s in graph.literals if _lowest(env[s])}
    for slot in graph.inputs:
        count = _bad(graph, env, slot, masked)
        if count:
            module = (leaves[slot].module or "") if slot in leaves else ""
            return Origin("parameter" if slot in leaves else "input", step, module=module, count=count)
    for at, instruction in enumerate(graph.instructions):
        found = instruction.run(*[env[s] for s in instruction.inputs])
        env.update(zip(instruction.outputs, found, strict=True))
        if not masked.isdisjoint(instruction.inputs):
            masked.update(instruction.outputs)
        if any(_bad(graph, env, s, masked) for s in instruction.inputs):
            continue
        count = sum(_bad(graph, env, s, masked) for s in instruction.outputs)
        if count:
            return _origin(traced, at, "forward", step, count)
    return None


def _lowest(value: Any) -> bool:
    """Whether a constant holds -inf, as masks do."""
    array = np.asarray(value)
    return array.dtype.kind == "f" and bool((array == -np.inf).any())


def _backward(traced: Traced, step: int) -> Origin | None:
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
            bad = int((~jnp.isfinite(gradient)).sum())
            if bad:
                return _origin(traced, at, "backward", step, bad)
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


def _bad(graph: Graph, env: dict[int, Any], slot: int, masked: set[int]) -> int:
    """How many values of a slot are not finite; -inf that comes of a mask is none."""
    if not is_float(graph, slot) or slot in graph.literals:
        return 0
    value = env[slot]
    bad = ~jnp.isfinite(value) & (value != -jnp.inf) if slot in masked else ~jnp.isfinite(value)
    return int(bad.sum())


def _origin(traced: Traced, at: int, phase: str, step: int, count: int) -> Origin:
    """phase: "forward", which becomes "loss" behind the last layer, or "backward"."""
    graph, flow = traced.program.graph, traced.program.flow
    instruction = graph.instructions[at]
    before = [layer for layer in flow.layers if layer.at <= at]
    if phase == "forward" and before and not flow.before_layers.intersection(instruction.outputs):
        phase = "loss" if at > before[-1].at else phase
    module = before[-1].module if before else ""
    return Origin(phase, step, instruction.call or instruction.name, module, instruction.line, count)
