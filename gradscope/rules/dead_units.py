"""GS401 dead-units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.trend import first_step, learns, sound_rows
from gradscope.verdict import Evidence, Role


@rule(
    "GS401",
    explains=(
        "zero-gradient",
        "vanishing-gradient",
        "collapsed-output",
        "stalled-loss",
        "slow-convergence",
        "missing-gradient",
        "undersized-update",
    ),
)
def dead_units(history: History, *, share: float = 0.7, nearly_all: float = 0.98) -> Iterator[Evidence]:
    """ReLU units are zero for every sample, and stay so.

    What it does: per ReLU, the share of units that were zero for the last 128 samples or more, at the end of the run.

    Why is this bad: a unit that is never active gets no gradient and never comes back.

    Thresholds: share of dead units of a layer (AutoTrainer and DeepDiagnosis: 70 %) when the loss does not fall;
    nearly_all when it does. A unit counts after 128 samples, for a small batch may just miss a rare one.

    Not flagged: sparse codes that learn, units that are off for some samples, units behind a loss that is not ReLU's.

    References: Lu et al. (2020) Dying ReLU and initialization, arXiv:1903.06733.
    """
    table = history["module"]
    rows = sound_rows(history, table)
    dead = table.column("dead_fraction")[rows]
    if not dead.size or not np.isfinite(dead).any():
        return
    progress = learns(history)
    bound = share if progress is False else nearly_all
    for i, s in enumerate(table.subjects):
        known = np.flatnonzero(np.isfinite(dead[:, i]))
        if not len(known) or s.traits.get("units", 1) < 2:
            continue
        closing = dead[known[-max(1, len(known) // 4) :], i]
        if closing.min() >= bound:
            step = first_step(table, np.nan_to_num(table.column("dead_fraction")[:, i]) >= bound)
            role = Role.HARM if progress is False else Role.CAUSE
            yield Evidence("share of dead units", float(closing.mean()), ">=", bound, step, module=s.module, role=role)
