"""GS202 undersized-update."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import matrices, sound_rows, update_ratios
from gradscope.usual import steepness
from gradscope.verdict import Evidence, Role


@rule("GS202", explains=("stalled-loss", "slow-convergence"))
def undersized_update(
    history: History, *, limit: float = 5e-5, gone: float = 1e-3, idle: float = 1e-6, rounded: float = 0.3
) -> Iterator[Evidence]:
    """The weights hardly move: the learning rate is too low.

    What it does: the largest median (over weight matrices) of update norm / parameter norm in the whole run.

    Why is this bad: at 1e-5 per step a weight needs a hundred thousand steps to change by its own size.

    Thresholds: limit for the largest step of the run, so that warm-up, decay and convergence do not count. Healthy runs
    measured here reach 1e-3 at least once; fine-tuning at learning rate 1e-5 reaches 5e-4. Published bounds: 1e-4
    (TheDeepChecker), 1e-8 (SageMaker Debugger). gone, the learning rate at the end over its largest: a schedule that is
    stepped per batch instead of per epoch is over within a hundred steps. idle, the largest step under which the
    learning rate is a fault of its own, whatever else is wrong, provided that the loss is as steep as usual (gradient x
    weights / loss above 0.01). rounded, the share of the entries with a gradient that change in a step: where fewer do,
    updates are lost in the rounding of the weights. Reported when the loss does not fall.

    Not flagged: converged runs, schedules that start or end near zero, updates of exactly zero (see
    unchanged-parameter).

    References: Ben Braiek & Khomh (2022) TheDeepChecker, doi:10.1145/3529318.
    """
    if learns(history):
        return
    table = history["parameter"]
    columns = matrices(table)
    ratios = update_ratios(history)
    if not columns.any() or len(ratios) < 5:
        raise NotJudged("too few updates of a weight matrix were measured")
    rows = sound_rows(history, table)
    yield from _rounded(history, columns, rows, rounded)
    median = np.nanmedian(ratios[rows][:, columns], axis=1)
    top = float(np.nanmax(median)) if len(median) else np.nan
    if not 0 < top < limit:
        yield from _decayed(history, gone)
        return
    role = Role.HARM if learns(history) is False else Role.CAUSE
    own = top < idle and steepness(history) > 0.01
    for i in np.flatnonzero(columns)[:4]:
        s = table.subjects[i]
        value = float(np.nanmax(ratios[rows, i]))
        if value < limit:
            yield Evidence(
                "largest update norm / parameter norm",
                value,
                "<",
                limit,
                int(table.steps[0]),
                s.name,
                s.module,
                role=role,
                own=own,
            )


def _rounded(history: History, columns: Array, rows: Array, share: float) -> Iterator[Evidence]:
    """Updates that are smaller than half a unit in the last place of the weights."""
    if learns(history) is not False:
        return
    table = history["parameter"]
    moved = table.column("moved_fraction")[rows]
    alive = 1 - table.column("gradient_zero_fraction")[rows]
    median = np.nanmedian(np.where(alive > 0.01, moved / np.maximum(alive, 0.01), np.nan), axis=0)
    lost = columns & (median > 0) & (median < share)
    if 2 * lost.sum() <= columns.sum():
        return
    for i in np.flatnonzero(lost)[:4]:
        s = table.subjects[i]
        quantity = "entries that change in a step, of those with a gradient"
        step = int(table.steps[0])
        yield Evidence(
            quantity, float(median[i]), "<", share, step, s.name, s.module, role=Role.HARM, detail=s.type, own=True
        )


def _decayed(history: History, gone: float) -> Iterator[Evidence]:
    """A learning rate that fell to nothing before anything was learnt."""
    rates = history.run("learning_rate")
    seen = rates[np.isfinite(rates)]
    if learns(history) is not False or len(seen) < 20 or not seen.max() > 0:
        return
    left = float(seen[-1] / seen.max())
    if left < gone:
        yield Evidence(
            "learning rate at the end / at its largest", left, "<", gone, int(history["step"].steps[0]), role=Role.HARM
        )
