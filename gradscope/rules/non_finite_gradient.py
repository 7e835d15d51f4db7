"""GS002 non-finite-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role, born


@rule("GS002", explains=("non-finite-parameter", "non-finite-loss", "stalled-loss"))
def non_finite_gradient(history: History, *, persistent: float = 0.5, fewest: int = 10) -> Iterator[Evidence]:
    """A gradient is NaN or infinite.

    What it does: finds the first step, and every parameter, whose gradient is not finite when the optimizer uses it;
    where the step could be run again, also the operation that made the first such value.

    Why is this bad: the optimizer writes it into the weights; from then on everything is NaN.

    Thresholds: persistent, the share of steps that a loss scaler may skip, over at least `fewest` steps, before its
    search for a scale counts as failed. A sound scaler skips a handful of steps at the beginning and then one in two
    thousand.

    Not flagged: the first skipped steps of a loss scaler, however many, where the last step was sound.

    References: Micikevicius et al. (2018) Mixed precision training, arXiv:1710.03740.
    """
    table = history["gradient"]
    norms = table.column("gradient_norm")
    bad = ~np.isfinite(norms)
    skipped = history.run_at("skipped", "gradient") == 1
    rows = bad.any(axis=1)
    used = rows & ~skipped
    if not used.any() and not (rows.size >= fewest and rows.mean() >= persistent and bad[-1].any()):
        return
    row = int(np.flatnonzero(used if used.any() else rows)[0])
    if history.run_at("loss_nonfinite", "gradient")[row] != 1:
        yield from born(history, int(table.steps[row]))
    for i in np.flatnonzero(bad[row]):
        s = table.subjects[i]
        yield Evidence(
            "gradient norm",
            float(norms[row, i]),
            "is not",
            0.0,
            int(table.steps[row]),
            s.name,
            s.module,
            role=Role.HARM,
        )
