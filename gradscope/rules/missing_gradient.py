"""GS010 missing-gradient."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from gradscope.history import MISSING, Array, History, Subject, Table
from gradscope.rule import NotJudged, rule
from gradscope.trend import share_of
from gradscope.verdict import Evidence, Role


@rule("GS010", explains=("unchanged-parameter", "stalled-loss", "slow-convergence"))
def missing_gradient(history: History, *, fewest: int = 3) -> Iterator[Evidence]:
    """Backward never reaches the parameter: its gradient is None in every step.

    What it does: finds parameters that the optimizer holds and that never got a gradient. When their module did run,
    the graph is cut behind it (detach, numpy, no_grad, a comparison); when it never ran, it is left over.

    Why is this bad: that part of the model keeps its random weights while the rest learns around it.

    Thresholds: fewest, the steps that must have been seen. It is an error where the module ran, so that its work is
    used but never trained, and where the optimizer got no gradient at all (backward was never called, or the loss is
    cut off from everything); left-over modules are a warning when they are the user's own, a note in a library's
    model.

    Not flagged: parameters that got a gradient in any step (alternating heads, sleeping experts, stochastic depth),
    single vectors (biases) of modules whose matrix learns, gradients cleared before the step (see
    unchanged-parameter), experts that never ran while a sibling of the same kind did, parameters that belong to no
    model any more (see unchanged-parameter).
    """
    table = history["gradient"]
    norms = table.column("gradient_norm")
    if len(table) < fewest or not table.subjects:
        raise NotJudged(f"fewer than {fewest} steps")
    early = history.run("cleared_early")
    if share_of(early) > 0.5:
        return
    none = (norms == MISSING).all(axis=0)
    wanted = np.array([_needs_gradient(s) for s in table.subjects], bool)
    if wanted.any() and none[wanted].all():
        yield from _nowhere(table, wanted)
        return
    if none.all():
        return
    called = set(history.facts.get("called", ()))
    patterns = {_pattern(name) for name in called if _pattern(name) != name}
    reached = {s.module for s, gone in zip(table.subjects, none, strict=True) if not gone}
    with_matrix = {s.module for s in table.subjects if s.traits["matrix"]}
    for i in np.flatnonzero(none):
        s = table.subjects[i]
        if not wanted[i] or (s.module in reached and s.module in with_matrix and not s.traits["matrix"]):
            continue
        ran = s.module in called
        if not ran and _pattern(s.module) in patterns:
            continue
        if s.traits.get("library"):
            role = Role.NOTE
        elif ran and s.module not in reached:
            role = Role.HARM
        else:
            role = Role.CAUSE
        detail = "its module runs" if ran else "its module never runs"
        yield Evidence(
            "steps with a gradient", 0, "<", 1, int(table.steps[0]), s.name, s.module, role=role, detail=detail
        )


def _needs_gradient(subject: Subject) -> bool:
    return bool(subject.traits["optimized"] and subject.traits["trainable"] and subject.traits["reachable"])


def _nowhere(table: Table, wanted: Array) -> Iterator[Evidence]:
    """Backward was never called, or reaches nothing that the optimizer holds."""
    for i in np.flatnonzero(wanted):
        s, step = table.subjects[i], int(table.steps[0])
        detail = "nor has any other parameter of the optimizer"
        yield Evidence("steps with a gradient", 0, "<", 1, step, s.name, s.module, role=Role.HARM, detail=detail)


def _pattern(module: str) -> str:
    """The name with its indices blotted out: layers.3 and layers.0 are siblings."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", module)
