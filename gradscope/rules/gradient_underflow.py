"""GS701 gradient-underflow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import matrices, sound_rows
from gradscope.verdict import Evidence, Role

NAMED = 4
"""So many parameters are named."""


@rule(
    "GS701",
    explains=("zero-gradient", "unchanged-parameter", "undersized-update", "stalled-loss", "slow-convergence"),
)
def gradient_underflow(
    history: History, *, share: float = 0.5, moving: float = 0.01, fewest: int = 3
) -> Iterator[Evidence]:
    """A large part of the gradient is too small for its number format.

    What it does: the entries of each weight matrix's gradient under the smallest normal number of their type, as a part
    of those that are not zero; as a median over the steps before the loss has fallen to half. A gradient in float32
    that has passed through float16 on its way, as under autocast, is held against float16.

    Why is this bad: below 6e-5 a float16 loses digit after digit, and below 6e-8 it is zero: what is small in a
    gradient is rounded away, and with it what the early layers learn from.

    Thresholds: share of the entries; networks of up to four layers that train soundly in float16 stay below 0.15, those
    whose loss is a thousandth of that are above 0.9. moving, the part of the entries with a gradient that changes in a
    step, under which the parameter stands still. fewest, the steps that must have been measured. An error when nothing
    is learnt or the parameter stands still. Where the loss falls, a warning, and only when most weight matrices show
    it.

    Not flagged: small gradients after convergence, zeros (units that are off, rows of an embedding that no one asked
    for), losses that a scaler multiplies. Not judged: gradients in float32 that passed through float16 and were clipped
    or averaged since, so that nothing tells what was lost. Gradients that are zero altogether: see zero-gradient.

    References: Micikevicius et al. (2018) Mixed precision training, arXiv:1710.03740.
    """
    table = history["parameter"]
    rows = _early(history)
    columns = matrices(table)
    under = table.column("gradient_underflow_fraction")[rows]
    alive = 1 - table.column("gradient_zero_fraction")[rows]
    part = np.divide(under, alive, out=np.full(under.shape, np.nan), where=alive > 0)
    known = np.isfinite(part).sum(axis=0) >= fewest
    if history.facts.get("half") and not (known & columns).any():
        raise NotJudged("gradients passed through float16, and what was lost there cannot be told from what is left")
    if not (known & columns).any():
        raise NotJudged(f"no weight matrix had a gradient that was measured in {fewest} steps")
    median = np.full(len(columns), np.nan)
    median[known] = np.nanmedian(part[:, known], axis=0)
    lost = columns & (median >= share)
    moved = np.full(len(columns), np.nan)
    changed = table.column("moved_fraction")[rows] / np.where(alive > 0, alive, np.nan)
    moved[known] = np.nanmedian(changed[:, known], axis=0)
    progress = learns(history)
    if progress and 2 * lost.sum() <= (columns & known).sum():
        return
    quantity = "entries of the gradient under the smallest normal number, of those that are not zero"
    for i in sorted(np.flatnonzero(lost), key=lambda i: -median[i])[:NAMED]:
        s = table.subjects[i]
        role = Role.HARM if progress is False or moved[i] < moving else Role.CAUSE
        step = int(table.steps[rows][0])
        yield Evidence(quantity, float(median[i]), ">=", share, step, s.name, s.module, role=role, detail=s.type)


def _early(history: History, fewest: int = 3) -> Array:
    """A mask of the sound rows before the loss has fallen to half of what it was; of the first quarter where the loss
    is not known."""
    table = history["parameter"]
    rows = sound_rows(history, table) & (history.run_at("skipped", "parameter") != 1)
    loss = history.run_at("loss", "parameter")
    seen = np.flatnonzero(np.isfinite(loss))
    end = max(fewest, len(table) // 4)
    if len(seen) and np.median(loss[seen[:3]]) > 0:
        low = np.flatnonzero(loss <= 0.5 * np.median(loss[seen[:3]]))
        end = max(fewest, int(low[0])) if len(low) else len(table)
    return np.asarray(rows & (np.arange(len(table)) < end))
