"""Evaluation: one call of jax.value_and_grad, its result, and what was seen on the way.

The function is traced, as jit would, and what is to be noted is computed beside loss and gradients in one compiled
program. A function that cannot be traced that way is evaluated by JAX alone: then its gradients are all that is known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradscope_jax.forward import plans_of
from gradscope_jax.graph import Graph, flatten
from gradscope_jax.layers import Dataflow
from gradscope_jax.names import Leaf, leaves_of
from gradscope_jax.plan import Plan

MOST_PROGRAMS = 16
"""A function that is traced to more programs than these is evaluated without compiling: it differs in every step."""


@dataclass(slots=True)
class Program:
    """A traced function: its graph, its leaves by place, and the compiled computation."""

    graph: Graph
    leaves: list[Leaf]
    slots: list[int]
    """The slot of each leaf."""
    flow: Dataflow
    plans: list[Plan]
    reached: set[int]
    frozen: set[int]
    run: Callable[..., Any]
    sizes: list[int] = field(default_factory=list)
    closed: Any = None
    """What was traced: it keeps alive the constants that the program was told apart by."""


@dataclass(slots=True)
class Traced:
    """A program with the values that it is to be run on, and how to put its results together again."""

    program: Program
    constants: list[Any]
    weights: list[Any]
    rest: list[Any]
    rebuild: Callable[[Sequence[Any]], Any]


@dataclass(slots=True)
class Evaluation:
    """Loss, gradients and notes of one call. weights and gradients: flat lists, in the order of the tree."""

    loss: float
    weights: list[Any]
    gradients: list[Any]
    program: Program | None = None
    traced: Traced | None = None
    measured: list[Any] = field(default_factory=list)
    tree: Any = None
    used: set[Any] = field(default_factory=set)

    def let_go(self) -> None:
        """Lets go of its arrays; what was measured stays."""
        self.weights, self.gradients, self.traced, self.tree = [], [], None, None


class Evaluator:
    """Evaluates functions as jax.value_and_grad does, and observes them."""

    def __init__(self) -> None:
        self._programs: dict[Any, Program] = {}
        self._counts: dict[Any, int] = {}
        self._untraceable: set[Any] = set()

    def evaluate(
        self, function: Any, argnums: int | Sequence[int], has_aux: bool, args: Any, kwargs: Any
    ) -> tuple[Any, Evaluation] | None:
        """(what value_and_grad returns, what was seen), or None when the function cannot be traced."""
        places = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        places = tuple(p % len(args) for p in places)
        tree = args[places[0]] if isinstance(argnums, int) else tuple(args[p] for p in places)
        weights, structure = jax.tree.flatten(tree)
        if not weights or not all(_is_weight(w) for w in weights):
            return None
        with jax.disable_jit(False):
            found = self._trace(function, places, has_aux, args, kwargs)
            if found is None:
                return None
            closed, rest, rebuild = found
            program = self._program(function, closed, tree, len(weights))
            traced = Traced(program, list(closed.consts), weights, rest, rebuild)
            found = program.run(traced.constants, traced.weights, traced.rest)
        value, rest, gradients, noted = found
        loss, flat = jax.device_get((value, noted))
        measured = np.split(flat, np.cumsum(traced.program.sizes)[:-1]) if traced.program.sizes else []
        seen = Evaluation(float(loss), weights, gradients, traced.program, traced, measured, tree)
        result = jax.tree.unflatten(structure, gradients)
        return ((value, traced.rebuild(rest)) if has_aux else value, result), seen

    def _trace(
        self, function: Any, places: tuple[int, ...], has_aux: bool, args: Any, kwargs: Any
    ) -> tuple[Any, list[Any], Callable[..., Any]] | None:
        """(closed jaxpr, the arrays that follow the weights, what puts the auxiliary results together again)."""
        code = getattr(function, "__code__", type(function))
        if code in self._untraceable:
            return None
        for moving in (True, False):
            states = random.getstate(), np.random.get_state()
            try:
                return self._traced(function, places, has_aux, args, kwargs, moving)
            except Exception:  # noqa: BLE001 - the function's own mistakes show when JAX evaluates it
                random.setstate(states[0])
                np.random.set_state(states[1])
        self._untraceable.add(code)
        return None

    def _traced(
        self, function: Any, places: tuple[int, ...], has_aux: bool, args: Any, kwargs: Any, moving: bool
    ) -> tuple[Any, list[Any], Callable[..., Any]]:
        """moving: all arrays among the arguments may change from call to call, else only what is differentiated."""
        others = {i: a for i, a in enumerate(args) if i not in places}
        leaves, structure = jax.tree.flatten((others, kwargs))
        chosen = [at for at, x in enumerate(leaves) if moving and _is_array(x)]
        kept: dict[str, Any] = {}

        def flat(weights: Any, rest: list[Any]) -> Any:
            filled = list(leaves)
            for at, x in zip(chosen, rest, strict=True):
                filled[at] = x
            given, named = jax.tree.unflatten(structure, filled)
            called = [given.get(i) for i in range(len(args))]
            for place, w in zip(places, weights, strict=True):
                called[place] = w
            out = function(*called, **named)
            value, aux = out if has_aux else (out, None)
            parts, kept["aux"] = jax.tree.flatten(aux)
            kept["fixed"] = {i: p for i, p in enumerate(parts) if not _is_array(p) and not _is_weight(p)}
            return value, [p for i, p in enumerate(parts) if i not in kept["fixed"]]

        weights = tuple(args[p] for p in places)
        rest = [leaves[at] for at in chosen]
        closed = jax.make_jaxpr(flat)(weights, rest)
        if any(isinstance(c, jax.core.Tracer) for c in [*closed.consts, *inner_constants(closed.jaxpr)]):
            raise TypeError("another transformation holds what the function closes over")
        value = closed.out_avals[0]
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError("the value is no real scalar")

        def rebuild(found: Sequence[Any]) -> Any:
            given, fixed = iter(found), kept["fixed"]
            count = len(found) + len(fixed)
            return jax.tree.unflatten(kept["aux"], [fixed[i] if i in fixed else next(given) for i in range(count)])

        return closed, rest, rebuild

    def _program(self, function: Any, closed: Any, tree: Any, count: int) -> Program:
        shapes = tuple((getattr(c, "shape", ()), str(getattr(c, "dtype", type(c)))) for c in closed.consts)
        inner = tuple(id(c) for c in inner_constants(closed.jaxpr))
        key = str(closed.jaxpr), shapes, inner, jax.tree.structure(tree)
        known = self._programs.pop(key, None)
        if known is not None:
            self._programs[key] = known
            return known
        code = getattr(function, "__code__", type(function))
        self._counts[code] = self._counts.get(code, 0) + 1
        made = build(closed, tree, count, compiled=self._counts[code] <= MOST_PROGRAMS)
        self._programs[key] = made
        if len(self._programs) > MOST_PROGRAMS:
            del self._programs[next(iter(self._programs))]
        return made


def build(closed: Any, tree: Any, count: int, *, compiled: bool) -> Program:
    """The program of a closed jaxpr whose first `count` arguments are the leaves of a tree of weights."""
    graph = flatten(closed, range(count))
    first = graph.inputs[len(closed.consts) :][:count]
    stacked = {at: graph.stacked[s] for at, s in enumerate(first) if s in graph.stacked}
    leaves = leaves_of(tree, stacked)
    cut: dict[tuple[int, int], int] = {}
    for slot, origin in graph.slices.items():
        cut.setdefault(origin, slot)
    slots = [first[leaf.at] if leaf.layer is None else cut[first[leaf.at], leaf.layer] for leaf in leaves]
    flow = Dataflow(graph, dict(zip(slots, leaves, strict=True)))
    for leaf in leaves:
        leaf.module = leaf.name if leaf.module is None else leaf.module
    plans = plans_of(graph, flow)
    program = Program(graph, leaves, slots, flow, plans, flow.reached(), flow.frozen(), lambda *_: None)
    run = _computation(closed.jaxpr, program)
    program.closed = closed
    program.run = jax.jit(run) if compiled else run
    return program


def _computation(jaxpr: Any, program: Program) -> Callable[..., Any]:
    wanted = {s for p in program.plans for s in p.slots}

    def run(constants: list[Any], weights: list[Any], rest: list[Any]) -> Any:
        def scalar(weights: list[Any]) -> Any:
            outs = jax.core.eval_jaxpr(jaxpr, constants, *weights, *rest)
            return outs[0], outs[1:]

        (value, others), gradients = VALUE_AND_GRAD(scalar, has_aux=True)(weights)
        env = program.graph.run([*constants, *weights, *rest], wanted)
        noted = [p.measure(*[env[s] for s in p.slots]).astype(jnp.float32).ravel() for p in program.plans]
        program.sizes = [math.prod(n.shape) for n in noted]
        return value, others, gradients, jnp.concatenate(noted) if noted else jnp.zeros(0)

    return run


VALUE_AND_GRAD = jax.value_and_grad
"""JAX' own, whatever it is replaced by later."""


def inner_constants(jaxpr: Any) -> list[Any]:
    """The constants of the functions that are called inside a jaxpr."""
    found: list[Any] = []
    for equation in jaxpr.eqns:
        held = [v for p in equation.params.values() for v in (p if isinstance(p, list | tuple) else (p,))]
        for one in held:
            if hasattr(getattr(one, "jaxpr", one), "eqns"):
                found += [*getattr(one, "consts", ()), *inner_constants(getattr(one, "jaxpr", one))]
    return found


def _is_array(value: Any) -> bool:
    """Whether it is an array, or a number with a fraction: what may differ from call to call."""
    return isinstance(value, jax.Array | np.ndarray | np.generic | float)


def _is_weight(value: Any) -> bool:
    """Whether it is an array of real floating-point numbers that are there."""
    if isinstance(value, jax.core.Tracer):
        return False
    return _is_array(value) and jnp.issubdtype(jnp.result_type(value), jnp.floating)
