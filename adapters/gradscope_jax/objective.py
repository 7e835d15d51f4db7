"""Objective: one optimizer, its parameters, and what is written into its History at each of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradscope import statistics
from gradscope.history import History, Subject
from gradscope.parameters import name_parameters, parameter
from gradscope.row import Note, Row, write

from gradscope_jax import measure
from gradscope_jax.evaluation import Evaluation
from gradscope_jax.made import Made
from gradscope_jax.names import Leaf, cut


class Objective:
    """The recorder of one optimizer's steps."""

    def __init__(self, made: Made, history: History):
        self.made = made
        self.history = history
        self.step = 0
        self.leaves: list[Leaf] = []
        self.shapes: list[tuple[int, ...]] = []
        self.reached: set[int] | None = None
        """Places of the leaves that the loss depends on; None as long as nobody knows."""
        self.frozen: set[int] = set()
        """Places of those that want no gradient: it is stopped before them, or they have no entries."""
        self.held: set[int] = set()
        """Places of those that the transformation has held still on purpose since they were first seen."""
        self.verified = False
        """Whether it was seen what becomes of the parameters after a step, and not only what was computed."""
        self._row: Row | None = None
        self._before: list[Any] | None = None
        self._direction: Any = None
        self._details: Any = None
        self._layers: dict[str, tuple[str | None, str]] = {}
        """Line and type of every layer."""

    # -- subjects --------------------------------------------------------------------------------------------------

    def survey(self, leaves: list[Leaf], evaluations: Sequence[Evaluation], places: Sequence[int | None]) -> None:
        """Takes note of the parameters. places: of each leaf in the evaluations' tree; None where that is not known.

        Leaves that are cut otherwise than those that are known are let go: each has a column already.
        """
        if self.leaves and [(a.at, a.layer) for a in leaves] != [(b.at, b.layer) for b in self.leaves]:
            return
        if self.reached is None and evaluations:
            self.reached = set()
        for one in evaluations:
            program = one.program
            if program is None:
                self.reached = set(range(len(leaves)))
                continue
            self._layers |= {layer.module: (layer.line, layer.type) for layer in program.flow.layers}
            by_slot = dict(enumerate(program.slots))
            self.reached = (self.reached or set()) | {
                at for at, p in enumerate(places) if p is None or by_slot.get(p) in program.reached
            }
            self.frozen |= {at for at, p in enumerate(places) if p is not None and by_slot.get(p) in program.frozen}
        self.leaves = leaves
        self.name()

    def name(self) -> None:
        """Writes the subjects of both tables of parameters."""
        name_parameters(self.history, [self._subject(at, leaf) for at, leaf in enumerate(self.leaves)])

    def _subject(self, at: int, leaf: Leaf) -> Subject:
        module = leaf.module if leaf.module is not None else leaf.name
        line, kind = self._layers.get(module, (None, ""))
        return parameter(
            leaf.name,
            module,
            shape=leaf.shape,
            fan_in=leaf.fan_in or math.prod(leaf.shape[:-1]),
            dtype=leaf.dtype,
            optimized=True,
            elsewhere=False,
            trainable=at not in self.still,
            source=line,
            matrix=leaf.matrix is not False,
            module_type=kind,
        )

    # -- a step ----------------------------------------------------------------------------------------------------

    def begin(self, gradients: list[Any], before: list[Any] | None) -> None:
        """A step begins. Arrays of the whole tree, before leaves are cut out of those that are stacked."""
        self.shapes = [jnp.shape(g) for g in gradients]
        self.frozen |= {at for at, leaf in enumerate(self.leaves) if not math.prod(leaf.shape)}
        given = cut(self.leaves, gradients)
        with jax.disable_jit(False):
            found = jax.device_get(_row(given))
        self._details, direction = np.array(found["details"], "f8"), found["direction"]
        absent = set() if self.reached is None else set(range(len(given))) - self.reached
        present = [at for at in range(len(given)) if at not in absent | self.still]
        self._row = Row(self.step, len(given), present, sorted(self.still), found["norms"][present].astype("f8"))
        for at in absent:
            self._details[at] = math.nan
        cosine = None if self._direction is None else statistics.cosine(self._direction, direction)
        self._row.values["gradient_cosine"] = cosine
        self._direction = direction
        self._before = before

    def updated(self, updates: list[Any], state: Any) -> None:
        """The optimizer gave its updates, and had that state before."""
        row = self._row
        if row is None:
            return
        row.values["learning_rate"] = self.made.rates([self.step], state)[0]
        limit = self.made.clip_limit()
        if limit is not None:
            row.values["clip_before"], row.values["clip_limit"] = math.hypot(*row.norms.tolist()), limit
        with jax.disable_jit(False):
            still = ~jax.device_get(_any(cut(self.leaves, updates)))
        row.values["skipped"] = float(still.all() and not np.isfinite(row.norms).all())
        if self.made.freezes and not still.all():
            self.hold(row, set(np.flatnonzero(still).tolist()))

    def hold(self, row: Row, still: set[int]) -> None:
        """Parameters that a transformation holds still on purpose count as frozen: all matrices too, where biases alone
        are trained (Ben Zaken et al. 2021, arXiv:2106.10199). One that moves after all, behind a warm-up, does not.

        still: places of those that did not move in a step in which others did.
        """
        held = self.held & still
        held |= {at for k, at in enumerate(row.present) if at in still and row.norms[k] > 0}
        if held != self.held:
            self.held = held
            self.name()
        kept = [k for k, at in enumerate(row.present) if at not in held]
        row.present, row.norms = [row.present[k] for k in kept], row.norms[kept]
        row.frozen = sorted(self.still)

    def finish(
        self,
        after: list[Any] | None,
        losses: list[tuple[Any, Any]],
        notes: list[Note],
        classes: list[tuple[str, Any]],
    ) -> None:
        """The step is done: writes its row. after: the parameters, or None when they were not seen."""
        row, before = self._row, self._before
        if row is None:
            return
        row.losses = losses
        row.values["backward_passes"] = len(losses) or None
        row.values.setdefault("skipped", 0.0)
        row.values["carried_over"] = 0.0  # gradients are results here, and nothing is added to what was there
        changes = np.full((row.width, 5), math.nan)
        if before is not None:
            with jax.disable_jit(False):
                weights = cut(self.leaves, before), cut(self.leaves, after or before)
                changes = np.array(jax.device_get(_changes(*weights)), "f8")
            if after is None:
                changes[:, 2:] = math.nan
            elif not np.isfinite(row.norms).all() and not changes[:, 2].any():
                row.values["skipped"] = 1.0
        row.parameters = np.concatenate([np.asarray(self._details, "f8"), changes], axis=1)
        row.notes, row.classes = notes, classes
        write(self.history, [row])
        self._row = self._before = None
        self.step += 1

    @property
    def still(self) -> set[int]:
        """Places of the leaves that are not to move."""
        return self.frozen | self.held

    @property
    def open(self) -> bool:
        """Whether a step was begun and not finished."""
        return self._row is not None

    @property
    def has_weights(self) -> bool:
        """Whether the parameters before the step are known."""
        return self._before is not None

    def give_weights(self, before: list[Any]) -> None:
        """Tells the parameters before the step, where the optimizer did not get them."""
        self._before = before


@jax.jit
def _row(gradients: list[Any]) -> dict[str, Any]:
    return measure.row(gradients)


@jax.jit
def _any(updates: list[Any]) -> Any:
    """For each, whether an entry is not zero."""
    return jnp.stack([jnp.any(u) for u in updates]) if updates else jnp.zeros(0, bool)


@jax.jit
def _changes(before: list[Any], after: list[Any]) -> Any:
    rows = [measure.parameter_statistics(b, a) for b, a in zip(before, after, strict=True)]
    return jnp.stack(rows) if rows else jnp.zeros((0, 5))
