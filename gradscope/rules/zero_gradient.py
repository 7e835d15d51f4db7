"""GS011 zero-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import share_of
from gradscope.verdict import Evidence, Role


@rule("GS011", explains=("unchanged-parameter", "stalled-loss"))
def zero_gradient(history: History, *, fewest: int = 5) -> Iterator[Evidence]:
    """Backward reaches the parameter with exactly zero, in every step.

    What it does: finds weight matrices whose gradient is exactly zero in every step that was seen.

    Why is this bad: something between the parameter and the loss has no slope: rounding, a comparison, a sign, a
    softmax over one unit, a factor of zero, or units that are all dead.

    Thresholds: fewest, the steps that must have been seen. An error when nothing learns, a warning beside parts that
    do; a note where the module never runs and the rest learns: `0.0 * sum(p.sum() for p in unused.parameters())` keeps
    unused parameters in the graph on purpose, for DistributedDataParallel.

    Not flagged: zeros in some steps only (hinge losses, zero-initialized branches, unvisited rows), biases, which a
    following normalization makes irrelevant.
    """
    table = history["gradient"]
    norms = table.column("gradient_norm")
    if len(table) < fewest:
        raise NotJudged(f"fewer than {fewest} steps")
    if share_of(history.run("cleared_early")) > 0.5:
        return  # they were there, and were cleared: see unchanged-parameter
    seen = norms >= 0
    zero = ((norms == 0) | ~seen).all(axis=0) & (seen.sum(axis=0) >= fewest)
    optimized = [bool(s.traits["matrix"] and s.traits["optimized"]) for s in table.subjects]
    matrix = np.array(optimized, bool)
    everything = bool(zero[matrix].all()) if matrix.any() else bool(zero.all())
    progress = learns(history)
    called = set(history.facts.get("called", ()))
    for i in np.flatnonzero(zero & (matrix | everything)):
        s = table.subjects[i]
        beside = Role.NOTE if progress and called and s.module not in called else Role.CAUSE
        role = Role.HARM if everything or progress is False else beside
        yield Evidence("largest gradient norm", 0.0, "=", 0, int(table.steps[0]), s.name, s.module, role=role)
