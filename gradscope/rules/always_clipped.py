"""GS203 always-clipped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import rule
from gradscope.trend import first_step
from gradscope.verdict import Evidence, Role


@rule("GS203", explains=("undersized-update", "stalled-loss", "slow-convergence"))
def always_clipped(
    history: History, *, share: float = 0.95, factor: float = 10.0, starved: float = 100.0
) -> Iterator[Evidence]:
    """Clipping is active in nearly every step, and far below the gradients: it has become the learning rate.

    What it does: compares the gradient norm before clipping with the limit, step by step.

    Why is this bad: every step then has the same tiny length, whatever the gradient says.

    Thresholds: share of clipped steps; factor, median norm over limit. Many sound recipes clip every step at 1.0 with
    gradients of 1 to 5. Reported when the loss does not fall; in a run of plain
    SGD that does fall, a limit under a hundredth of the gradients (starved) is still a learning rate in disguise.

    Not flagged: clipping that cuts spikes, clipping under Adam and its like, whose steps do not depend on the
    gradient's scale, when the loss falls.

    References: Pascanu et al. (2013) arXiv:1211.5063; Zhang et al. (2020) arXiv:1905.11881.
    """
    before, limit = history.run("clip_before"), history.run("clip_limit")
    seen = np.isfinite(before) & np.isfinite(limit) & (limit > 0)
    if not seen.any():
        return
    rate = float((before[seen] > limit[seen]).mean())
    ratio = float(np.median(before[seen] / limit[seen]))
    stuck = learns(history) is False
    if not stuck and not (ratio >= starved and history.facts.get("optimizer") == "SGD"):
        return
    role = Role.HARM if stuck else Role.CAUSE
    if rate >= share and ratio >= factor:
        step = first_step(history["step"], before > limit)
        yield Evidence("share of steps that were clipped", rate, ">=", share, step, role=role)
        yield Evidence(
            "median gradient norm / limit",
            ratio,
            ">=",
            factor,
            step,
            role=role,
            detail=f"limit {float(np.median(limit[seen])):g}",
        )
