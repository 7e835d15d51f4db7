"""GS602 target-out-of-range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of
from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role


@rule(
    "GS602",
    explains=(
        "saturated-units",
        "collapsed-output",
        "stalled-loss",
        "vanishing-gradient",
        "zero-gradient",
        "dead-units",
        "slow-convergence",
        "unscaled-target",
        "oversized-update",
        "exploding-gradient",
        "output-loss-mismatch",
    ),
)
def target_out_of_range(history: History, *, margin: float = 0.05, poor: float = 0.3) -> Iterator[Evidence]:
    """The output activation cannot reach the targets.

    What it does: sets the range of the targets beside the range of the last activation: (0, 1) for a sigmoid or
    softmax, (-1, 1) for tanh, from 0 for ReLU and softplus.

    Why is this bad: the output runs to its end and stays there; the best it can do is a constant.

    Thresholds: margin, how far beyond the end targets must lie, as a part of the activation's range or of the targets'
    deviation; poor, the error beside a constant prediction's from which on it is an error and no warning.

    Not flagged: targets at the end of the range, outputs that are scaled after their activation, class labels.
    """
    table = history["loss"]
    fit = fit_of(history)
    for i, s in enumerate(table.subjects):
        low, high = REACH.get(s.traits.get("operation", ""), (-np.inf, np.inf))
        least, most = table.column("target_min")[:, i], table.column("target_max")[:, i]
        if s.traits.get("classes") or not np.isfinite(least).any() or (low == -np.inf and high == np.inf):
            continue
        deviation = float(np.nanmedian(table.column("target_deviation")[:, i]))
        slack = margin * (high - low if np.isfinite(high) else deviation)
        under, over = low - float(np.nanmedian(least)), float(np.nanmedian(most)) - high
        beyond = max(under, over)
        if beyond <= slack or beyond <= 0:
            continue
        role = Role.HARM if fit is None or fit.closing > poor else Role.CAUSE
        value, limit, relation = (
            (float(np.nanmax(most)), high, ">") if over >= under else (float(np.nanmin(least)), low, "<")
        )
        yield Evidence(
            f"target, against a {s.traits['operation']} output",
            value,
            relation,
            limit,
            int(table.steps[0]),
            module=s.module,
            source=s.source,
            role=role,
        )


REACH = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "softplus": (0.0, np.inf),
}
