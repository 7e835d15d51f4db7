"""GS010 missing-gradient."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from gradscope.history import MISSING, History
from gradscope.rule import NotJudged, rule
from gradscope.verdict import Evidence, Role


@rule("GS010", explains=("unchanged-parameter", "stalled-loss", "slow-convergence"))
def missing_gradient(history: History, *, fewest: int = 3) -> Iterator[Evidence]:
    """Backward never reaches the parameter: its gradient is None in every step.

    What it does: finds parameters that the optimizer holds and that never got a gradient. When their module did run, the
    graph is cut behind it (detach, numpy, no_grad, a comparison); when it never ran, it is left over.

    Why is this bad: that part of the model keeps its random weights while the rest learns around it.

    Thresholds: fewest, the steps that must have been seen. It is an error where the module ran, so that its work is used
    but never trained; left-over modules are a warning when they are the user's own, a note in a library's model.

    Not flagged: parameters that got a gradient in any step (alternating heads, sleeping experts, stochastic depth), single
    biases of modules that learn otherwise, gradients cleared before the step (see unchanged-parameter), experts that never
    ran while a sibling of the same kind did, parameters that belong to no model any more (see unchanged-parameter).
    """
    table = history["gradient"]
    norms = table.column("gradient_norm")
    if len(table) < fewest or not table.subjects:
        raise NotJudged(f"fewer than {fewest} steps")
    early = history.run("cleared_early")
    if np.nanmean(early) > 0.5:
        return
    none = (norms == MISSING).all(axis=0)
    if none.all():
        return
    called = set(history.facts.get("called", ()))
    patterns = {_pattern(name) for name in called if _pattern(name) != name}
    reached = {s.module for s, gone in zip(table.subjects, none, strict=True) if not gone}
    for i in np.flatnonzero(none):
        s = table.subjects[i]
        if not s.traits["optimized"] or not s.traits["trainable"] or not s.traits["reachable"]:
            continue
        if s.module in reached and s.name.endswith("bias"):
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


def _pattern(module: str) -> str:
    """The name with its indices blotted out: layers.3 and layers.0 are siblings."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", module)
