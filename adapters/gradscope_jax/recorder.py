"""Recorder: hears of every gradient and every optimizer step, and sees to it that the right Objective is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from gradscope.competition import note_competition
from gradscope.guard import guarded
from gradscope.row import Note
from gradscope.scope import Scope

from gradscope_jax.evaluation import Evaluation, Program
from gradscope_jax.forward import Forward
from gradscope_jax.made import Made
from gradscope_jax.names import Leaf, leaves_of
from gradscope_jax.objective import Objective
from gradscope_jax.origin import origin_of

STEPS = "optax steps"
BY_HAND = Made("by hand")
MOST_WAITING = 64
"""Evaluations that are kept until a step uses them."""
HELD = 4
"""So many of them with their arrays, the others with their numbers."""


@dataclass(slots=True, eq=False)
class Open:
    """A step that was begun: it is written when it is known what became of the parameters."""

    objective: Objective
    updates: list[Any]
    evaluations: list[Evaluation]
    program: Program | None
    places: list[int] | None
    """Of each array of the step, its place among the weights of the program."""
    after: list[Any] | None = None


class Recorder:
    """One observation: its objectives, and the evaluations since the last step."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.forward = Forward()
        self.objectives: dict[Any, Objective] = {}
        self.waiting: list[Evaluation] = []
        self.missed = 0
        self._open: list[Open] = []
        self._called: set[str] = set()
        self._held: dict[Any, tuple[int, ...]] = {}
        self.evaluated = guarded("jax.value_and_grad", scope.failures, self._evaluated)
        self._begin = guarded(STEPS, scope.failures, self._begins)
        self._end = guarded(STEPS, scope.failures, self._applied)
        self._last = guarded(STEPS, scope.failures, self._close_all)

    # -- gradients -------------------------------------------------------------------------------------------------

    def _evaluated(self, seen: Evaluation) -> None:
        """Loss and gradients were computed."""
        for one in list(self._open):
            if one.program is not None and one.program is seen.program:
                self._close(one, seen)
        last = next((e for e in reversed(self.waiting) if e.program is seen.program and alike(e, seen)), None)
        if last is not None and not last.used and not self._optimized(last) and moved(last, seen):
            self._step_by_hand(last, seen)
        self.waiting = [e for e in self.waiting if not e.used][-MOST_WAITING:]
        self.waiting.append(seen)
        for old in self.waiting[:-HELD]:
            old.let_go()

    def stepped(self) -> None:
        """Ends the observation when it has seen enough steps."""
        if STEPS in self.scope.failures:
            self.missed += 1
        self.scope.stepped(max((o.step + o.open for o in self.objectives.values()), default=0) + self.missed)

    # -- steps of optax --------------------------------------------------------------------------------------------

    def updated(self, made: Made, gradients: Any, state: Any, parameters: Any, updates: Any) -> None:
        """A transformation turned gradients into updates."""
        self._begin(made, gradients, state, parameters, updates)

    def applied(self, parameters: Any, updates: Any, result: Any) -> None:
        """Updates were added to the parameters."""
        self._end(parameters, updates, result)

    def _begins(self, made: Made, gradients: Any, state: Any, parameters: Any, updates: Any) -> None:
        given = jax.tree.leaves(gradients)
        if not given or any(isinstance(g, jax.core.Tracer) for g in given):
            return
        for one in [o for o in self._open if o.objective.made is made]:
            self._close(one)
        before = jax.tree.leaves(parameters) if parameters is not None else None
        before = before if before is not None and len(before) == len(given) else None
        objective = self._objective(made, (id(made), tuple(g.shape for g in given)))
        mine = self._evaluations_of(objective, given, before)
        program, places = self._survey(objective, gradients, given, before, mine)
        objective.begin(given, before)
        flat = jax.tree.leaves(updates)
        objective.updated(flat, state)
        for seen in mine:
            seen.used.add(id(objective))
        self._note_competition(objective, mine)
        self._open.append(Open(objective, flat, mine, program, places))

    def _applied(self, parameters: Any, updates: Any, result: Any) -> None:
        flat = jax.tree.leaves(updates)
        found = next((o for o in self._open if flat and any(u is flat[0] for u in o.updates)), None)
        if found is None and len(self._open) == 1:
            found = self._open[0]
        if found is None:
            return
        before, after = _trained(parameters, flat), _trained(result, flat)
        if len(before) == len(after) == len(found.updates):
            found.after = after
            if not found.objective.has_weights:
                found.objective.give_weights(before)

    def _close(self, one: Open, seen: Evaluation | None = None) -> None:
        """Writes a step. seen: the next evaluation of the same loss, which tells what became of the parameters."""
        self._open.remove(one)
        after = None if one.objective.verified else one.after
        if seen is not None and one.places is not None and one.objective.has_weights:
            after = [seen.weights[p] for p in one.places]
            one.objective.verified = True
        self._finish(one.objective, after, one.evaluations)

    def _close_all(self) -> None:
        for one in list(self._open):
            self._close(one)

    def _finish(self, objective: Objective, after: list[Any] | None, mine: Sequence[Evaluation]) -> None:
        losses = [(e.loss, None) for e in mine]
        if not losses:
            logged = self.scope.take_logged()
            losses = [(logged, None)] if logged is not None else []
        notes: list[Note] = []
        classes: list[tuple[str, Any]] = []
        for one in mine:
            if one.program is not None and one.used == {id(objective)}:
                found, counts = self.forward.notes(one.program.plans, one.measured, one.program.graph.shapes)
                notes += found
                classes += counts
                self._called |= one.program.flow.called()
            elif one.program is not None:
                notes += self.forward.notes(one.program.plans, one.measured, one.program.graph.shapes)[0]
        objective.history.facts["called"] = sorted(self._called)
        if "origin" not in objective.history.facts:
            origin = origin_of(mine, objective.step)
            if origin is not None:
                objective.history.facts["origin"] = origin
        objective.finish(after, losses, notes, classes)

    # -- steps by hand ---------------------------------------------------------------------------------------------

    def _optimized(self, one: Evaluation) -> bool:
        """Whether an optimizer was seen stepping parameters like those."""
        shapes = sorted(str(jnp.shape(w)) for w in one.weights)
        return any(
            o.made is not BY_HAND and sorted(str(s) for s in o.shapes) == shapes for o in self.objectives.values()
        )

    def _step_by_hand(self, last: Evaluation, now: Evaluation) -> None:
        """Parameters differ from those of the evaluation before, and no optimizer was seen."""
        shapes = tuple(jnp.shape(w) for w in last.weights)
        objective = self._objective(BY_HAND, ("by hand", id(last.program), shapes))
        mine = [e for e in self.waiting if e.program is last.program and not e.used]
        self._survey(objective, last.tree, last.gradients, last.weights, mine)
        objective.begin(last.gradients, last.weights)
        for one in mine:
            one.used.add(id(objective))
        self._note_competition(objective, mine)
        self._finish(objective, now.weights, mine)

    # -- objectives ------------------------------------------------------------------------------------------------

    def _objective(self, made: Made, key: Any) -> Objective:
        found = self.objectives.get(key)
        if found is None:
            name = f"{made.kind} {len(self.objectives) + 1}"
            history = self.scope.new_history(name, framework="jax", optimizer=made.kind, settings=made.settings())
            found = self.objectives[key] = Objective(made, history)
        return found

    def _evaluations_of(self, objective: Objective, gradients: list[Any], before: list[Any] | None) -> list[Evaluation]:
        """Those that wait and have to do with a step: they share an array with it, or nobody else could."""
        fresh = [e for e in self.waiting if id(objective) not in e.used]
        for mine, theirs in ((gradients, "gradients"), (before or [], "weights")):
            ids = set(map(id, mine))
            related = [e for e in fresh if not ids.isdisjoint(map(id, getattr(e, theirs)))]
            if related and theirs == "gradients":
                return related
            programs = {id(e.program) for e in related}
            if related:
                return [e for e in fresh if id(e.program) in programs]
        return fresh if len(self.objectives) < 2 else [e for e in fresh if not e.used]

    def _survey(
        self,
        objective: Objective,
        tree: Any,
        gradients: list[Any],
        before: list[Any] | None,
        mine: Sequence[Evaluation],
    ) -> tuple[Program | None, list[int] | None]:
        """Names the parameters, and learns which of them the loss reaches. Gives the program of the loss, and the place
        of each array among its weights, when that is known."""
        one = next((e for e in reversed(mine) if e.program is not None and e.weights), None)
        places = placed(one, gradients, before) if one is not None else None
        if objective.leaves and (objective.step > 2 or places is None):
            return one.program if one is not None else None, places
        if one is None or one.program is None or places is None:
            named = leaves_of(tree)
            objective.survey(named, [], [None] * len(named))
            return None, None
        leaves: list[Leaf] = []
        where: list[int | None] = []
        for at, place in enumerate(places):
            for index, leaf in enumerate(one.program.leaves):
                if leaf.at == place:
                    leaves.append(replace(leaf, at=at))
                    where.append(index)
        objective.survey(leaves, [e for e in mine if e.program is one.program], where)
        return one.program, places

    def _note_competition(self, objective: Objective, mine: Sequence[Evaluation]) -> None:
        if any(e.used == {id(objective)} for e in mine):
            note_competition(self.scope, objective)

    def close(self) -> None:
        """Writes what is still open."""
        self._last()
        self.waiting = []


def alike(last: Evaluation, now: Evaluation) -> bool:
    """Whether two evaluations have weights of the same shapes, and the first still holds them."""
    return bool(last.weights) and [jnp.shape(w) for w in last.weights] == [jnp.shape(w) for w in now.weights]


def moved(last: Evaluation, now: Evaluation) -> bool:
    """Whether the weights of two evaluations differ, and not their arrays alone."""
    pairs = [(a, b) for a, b in zip(last.weights, now.weights, strict=True) if a is not b]
    with jax.disable_jit(False):
        return bool(_differ(pairs)) if pairs else False


@jax.jit
def _differ(pairs: list[tuple[Any, Any]]) -> Any:
    """Whether the arrays of some pair differ."""
    return ~jnp.stack([jnp.array_equal(a, b, equal_nan=True) for a, b in pairs]).all()


def placed(one: Evaluation, gradients: list[Any], before: list[Any] | None) -> list[int] | None:
    """For each array of a step its place among the weights of an evaluation: the same array, or one of its shape in
    the same order. None when they do not match."""
    for mine, theirs in ((gradients, one.gradients), (before or [], one.weights)):
        known = {id(a): at for at, a in enumerate(theirs)}
        found = [known.get(id(a)) for a in mine]
        if found and all(f is not None for f in found):
            return [f for f in found if f is not None]
    shapes = [jnp.shape(a) for a in gradients]
    return list(range(len(shapes))) if shapes == [jnp.shape(w) for w in one.weights] else None


def _trained(tree: Any, updates: list[Any]) -> list[Any]:
    """The leaves of a tree that updates were made for: all of them, or those that are floating-point arrays."""
    leaves = jax.tree.leaves(tree)
    if len(leaves) == len(updates):
        return leaves
    return [x for x in leaves if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)]
