"""GS012 stale-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import first_step
from gradscope.verdict import Evidence, Role


@rule(
    "GS012",
    explains=(
        "exploding-gradient",
        "oversized-update",
        "diverging-loss",
        "oscillating-loss",
        "dead-units",
        "stalled-loss",
        "gradient-spike",
        "collapsed-output",
        "non-finite-loss",
        "saturated-units",
        "always-clipped",
    ),
)
def stale_gradient(history: History, *, share: float = 0.5, fewest: int = 4) -> Iterator[Evidence]:
    """Gradients carry over from the step before: zero_grad is missing.

    What it does: watches one gradient from the end of a step to the next backward pass. If it is never cleared in
    between, the next step uses the sum of both.

    Why is this bad: each step follows the sum of all gradients so far, so the effective learning rate grows without
    end.

    Thresholds: share of the steps that carried over, of at least `fewest`. An intended accumulation clears after each
    step, so it carries over in none; clearing once per epoch carries over in nearly all.

    Not flagged: gradient accumulation over micro-batches, gradients of another optimizer's loss that are cleared before
    this optimizer's own backward pass (GANs).
    """
    carried = history.run("carried_over")
    seen = np.isfinite(carried)
    if seen.sum() < fewest:
        raise NotJudged("too few backward passes were seen between steps")
    rate = float(carried[seen].mean())
    if rate >= share:
        step = first_step(history["step"], carried == 1)
        role = Role.CAUSE if learns(history) else Role.HARM
        yield Evidence("share of steps that begin with the last step's gradient", rate, ">=", share, step, role=role)
