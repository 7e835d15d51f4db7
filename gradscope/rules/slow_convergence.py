"""GS304 slow-convergence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import loss_trend, total_gradient
from gradscope.verdict import Evidence, Role


@rule("GS304", explains=())
def slow_convergence(
    history: History, *, aligned: float = 0.9, gain: float = 0.05, least: float = 1e-3, fewest: int = 50
) -> Iterator[Evidence]:
    """The loss falls, far slower than this workload can.

    What it does: the cosine between the gradients of consecutive steps. When every step goes the same way and the loss
    hardly falls, longer steps would have gone faster.

    Why is this bad: the run ends long before it has learnt.

    Thresholds: aligned, the median cosine; mini-batch training that uses its learning rate well lies under 0.6. gain
    and least, the relative fall of the loss over the observation. fewest, steps seen.

    Not flagged: runs that learn, gradients that change direction, a loss that stands still or rises.
    """
    cosine = history.run("gradient_cosine")
    seen = cosine[np.isfinite(cosine)]
    trend = loss_trend(history)
    if history.steps < fewest:
        raise NotJudged(f"fewer than {fewest} steps")
    if trend is None:
        raise NotJudged("the loss is unknown")
    if len(seen) < fewest:
        raise NotJudged(f"fewer than {fewest} directions of the gradient were seen")
    middle = float(np.median(seen))
    if (
        learns(history) is False
        and middle >= aligned
        and least < trend.gain < gain
        and trend.significance > 3
        and np.median(total_gradient(history)) > 0
    ):
        yield Evidence("cosine between consecutive gradients", middle, ">=", aligned, None, role=Role.CAUSE)
        yield Evidence("relative fall of the loss", trend.gain, "<", gain, None, role=Role.CAUSE)
