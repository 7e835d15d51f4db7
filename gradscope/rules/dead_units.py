"""GS401 dead-units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import batch_size, sound_rows
from gradscope.verdict import Evidence, Role

SAMPLES = 128
"""What a unit must have been zero for to be called dead."""


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
        if unseen := history.facts.get("limits", {}).get("activations"):
            raise NotJudged(f"no ReLU was seen: {unseen}")
        return
    progress = learns(history)
    bound = share if progress is False else nearly_all
    for i, s in enumerate(table.subjects):
        known = np.flatnonzero(np.isfinite(dead[:, i]))
        if not len(known) or s.traits.get("units", 1) < 2:
            continue
        closing = dead[known[-max(1, len(known) // 4) :], i]
        if closing.min() >= bound:
            step = _onset(history, i, bound)
            role = Role.HARM if progress is False else Role.CAUSE
            yield Evidence("share of dead units", float(closing.mean()), ">=", bound, step, module=s.module, role=role)


def _onset(history: History, i: int, bound: float) -> int:
    """The step at which the units had died: a unit counts as dead 128 samples after its last sign of life."""
    table = history["module"]
    dead, zero = (np.nan_to_num(table.column(q)[:, i]) for q in ("dead_fraction", "zero_fraction"))
    row = int(np.argmax(dead >= bound))
    size = batch_size(history)
    earliest = int(table.steps[row]) - (int(np.ceil(SAMPLES / size)) - 1 if size > 0 else 0)
    while row and zero[row - 1] >= bound and table.steps[row - 1] >= earliest:
        row -= 1
    return int(table.steps[row])
