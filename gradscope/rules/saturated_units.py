"""GS402 saturated-units."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import first_step, output_layers, sound_rows
from gradscope.verdict import Evidence, Role


@rule(
    "GS402",
    explains=(
        "vanishing-gradient",
        "stalled-loss",
        "collapsed-output",
        "slow-convergence",
        "zero-gradient",
        "undersized-update",
    ),
)
def saturated_units(
    history: History, *, share: float = 0.8, early: float = 0.9, several: float = 0.7
) -> Iterator[Evidence]:
    """Hidden sigmoid or tanh units are stuck at their ends.

    What it does: per activation, the share of values where the slope is under 2 % of its largest (|tanh| > 0.99,
    sigmoid outside 0.005 to 0.995), at the end of the run.

    Why is this bad: no gradient passes a saturated unit, so neither it nor what lies before it learns.

    Thresholds: share of saturated values (published: 50 % beyond +-5, 85 %) when the loss does not fall; early when it
    does, from the first steps on; several, where more than one layer is so from the first steps on.

    Not flagged: the output activation, which is confident when it has learnt; gates that are open or shut in a run that
    learns.

    References: Glorot & Bengio (2010); Rakitianskaia & Engelbrecht (2015) doi:10.1109/SSCI.2015.163.
    """
    table = history["module"]
    rows = sound_rows(history, table)
    values = table.column("saturated_fraction")[rows]
    unseen = history.facts.get("limits", {}).get("activations")
    if unseen and not np.isfinite(values).any():
        raise NotJudged(f"no sigmoid or tanh was seen: {unseen}")
    outputs = output_layers(history)
    progress = learns(history)
    many = [i for i, s in enumerate(table.subjects) if s.module not in outputs and _throughout(values[:, i]) >= several]
    bound = several if len(many) > 1 else early
    for i, s in enumerate(table.subjects):
        known = values[np.isfinite(values[:, i]), i]
        if not len(known) or s.module in outputs or s.traits.get("units", 1) < 2:
            continue
        closing = float(known[-max(1, len(known) // 4) :].mean())
        stuck = closing >= share if progress is False else _throughout(values[:, i]) >= bound
        if stuck:
            step = first_step(table, np.nan_to_num(table.column("saturated_fraction")[:, i]) >= share)
            role = Role.HARM if progress is False else Role.CAUSE
            yield Evidence("share of saturated values", closing, ">=", share, step, module=s.module, role=role)


def _throughout(values: Array) -> float:
    """The smaller of the share at the beginning and the share at the end; 0 when it was not seen."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    return min(float(known[: max(1, len(known) // 10)].mean()), float(known[-max(1, len(known) // 4) :].mean()))
