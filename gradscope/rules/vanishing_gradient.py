"""GS101 vanishing-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import first_nonfinite_step, layers, sound_rows
from gradscope.verdict import Evidence, Role


@rule(
    "GS101",
    explains=(
        "stalled-loss",
        "slow-convergence",
        "undersized-update",
        "zero-gradient",
        "collapsed-output",
        "gradient-underflow",
    ),
)
def vanishing_gradient(
    history: History, *, decay: float = 1e-3, depth: int = 3, fewest: int = 20
) -> Iterator[Evidence]:
    """The gradient dies on its way to the first layers, and they do not learn.

    What it does: compares, for each weight matrix, gradient norm / parameter norm, in the order in which layers run.
    The first layers' value is set against the largest one.

    Why is this bad: the first layers keep their random weights; what they destroy of the input nobody can restore.

    Thresholds: decay, first over largest, as a median over the run. Published checks use 1e-3 (AutoTrainer); healthy
    networks of ten layers, measured here, stay above 1e-2. depth, the fewest layers for which depth can be the reason.
    fewest, steps before the first value that is not finite: with fewer of them nobody knows whether it would have
    learnt. Reported only when the loss does not fall: many healthy networks start with a steep profile.

    Not flagged: layers whose gradient is small at initialization and recovers, converged runs, zero-initialized
    branches.

    References: Glorot & Bengio (2010) Understanding the difficulty of training deep feedforward neural networks; Zhang
    et al. (2021) AutoTrainer, doi:10.1109/ICSE43902.2021.00043.
    """
    ordered = layers(history)
    if not ordered:
        raise NotJudged("the order of layers is unknown")
    if len(ordered) < depth:
        raise NotJudged(f"too few layers with weights: {len(ordered)}, and at least {depth} make a depth")
    if learns(history) is not False:
        return
    table = history["gradient"]
    rows = sound_rows(history, table)
    if len(table.steps[rows]) < fewest and first_nonfinite_step(history) is not None:
        raise NotJudged(f"fewer than {fewest} steps before the first value that is not finite")
    norms = np.where(table.column("gradient_norm") < 0, np.nan, table.column("gradient_norm"))[rows]
    sizes = np.array([max(np.sqrt(s.traits["size"]), 1.0) for s in table.subjects])
    relative = np.nanmedian(norms, axis=0) / sizes if len(norms) else np.full(len(sizes), np.nan)
    profile = np.array([np.nanmax(relative[columns]) for _, columns in ordered])
    if not np.isfinite(profile).all() or profile.max() <= 0:
        return
    ratio = profile / profile.max()
    early = int(np.argmax(profile))
    low = [k for k in range(early) if ratio[k] < decay and ratio[k] > 0]
    if early < depth - 1 or not low:
        return
    sized, most = norms / sizes, ordered[early][1]
    for k in low:
        module, columns = ordered[k]
        name = table.subjects[columns[0]].name
        yield Evidence(
            "gradient RMS / that of the layer with most",
            float(ratio[k]),
            "<",
            decay,
            _onset(table.steps[rows], np.nanmax(sized[:, columns], axis=1), np.nanmax(sized[:, most], axis=1), decay),
            name,
            module,
            role=Role.HARM,
        )


def _onset(steps: Array, given: Array, most: Array, decay: float) -> int:
    """The first step from which on a layer gets under `decay` of what another gets, in most of the rest."""
    low = given < decay * most
    rest = np.cumsum(low[::-1])[::-1] / np.arange(len(low), 0, -1)
    found = np.flatnonzero(low & (rest > 0.8))
    return int(steps[found[0] if len(found) else 0])
