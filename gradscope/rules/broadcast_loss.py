"""GS604 broadcast-loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns, pairs_up
from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role


@rule(
    "GS604",
    explains=(
        "stalled-loss",
        "unscaled-target",
        "oscillating-loss",
        "collapsed-output",
        "noisy-gradient",
        "slow-convergence",
    ),
)
def broadcast_loss(history: History, *, share: float = 0.5) -> Iterator[Evidence]:
    """Prediction and target shapes broadcast against each other.

    What it does: compares the shapes that enter a loss, or a difference written by hand. [N, 1] against [N] gives [N,
    N].

    Why is this bad: every prediction is compared with every target; the optimum is the mean of the targets.

    Thresholds: share of the calls whose result is larger than both of its arguments.

    Not flagged: one target against several predictions (quantiles), whose result is as large as the prediction; a
    difference written by hand of two arrays of the same rank, each with a dimension of one that the other lacks: that
    takes an explicit unsqueeze on both sides, as in a chamfer distance or a kernel.
    """
    table = history["loss"]
    for i, s in enumerate(table.subjects):
        if pairs_up(s):
            continue
        flags = table.column("broadcast")[:, i]
        seen = flags[np.isfinite(flags)]
        if len(seen) and float(seen.mean()) >= share:
            most = float(np.nanmedian(table.column("loss_elements")[:, i]))
            largest = float(np.nanmedian(table.column("prediction_elements")[:, i]))
            role = Role.CAUSE if learns(history) else Role.HARM
            shapes = f"prediction {list(s.traits['prediction_shape'])}, target {list(s.traits['target_shape'])}"
            yield Evidence(
                "elements of the loss",
                most,
                ">",
                largest,
                int(table.steps[0]),
                module=s.module,
                source=s.source,
                role=role,
                detail=shapes,
            )
