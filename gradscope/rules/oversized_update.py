"""GS201 oversized-update."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of, learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import matrices, spikes_of, total_gradient, update_ratios
from gradscope.usual import climbs
from gradscope.verdict import Evidence, Role


@rule(
    "GS201",
    explains=(
        "dead-units",
        "saturated-units",
        "diverging-loss",
        "non-finite-loss",
        "non-finite-gradient",
        "non-finite-parameter",
        "stalled-loss",
        "collapsed-output",
        "exploding-gradient",
        "gradient-spike",
        "zero-gradient",
        "vanishing-gradient",
    ),
)
def oversized_update(
    history: History, *, limit: float = 0.3, steps: int = 1, typical: float = 0.1, absurd: float = 30.0
) -> Iterator[Evidence]:
    """Updates are so large that they replace the weights instead of adjusting them: the learning rate is too high.

    What it does: update norm / parameter norm for every weight matrix, its median over the matrices in each step.

    Why is this bad: a step that is as long as the weights are leaves the region in which its gradient meant anything.

    Thresholds: limit for a single step, typical for the median of the first tenth of the run. Sound training lies
    between 1e-4 and 1e-2 (Karpathy's rule of thumb is 1e-3); healthy runs measured here peak at 0.2 in their first
    steps. SageMaker Debugger alarms at 10, TheDeepChecker at 0.1. absurd, the first step beyond which the learning rate
    is a fault of its own, whatever else is wrong, provided that the loss is as steep as usual there (gradient x weights
    / loss between 0.1 and 10). Reported when the loss does not fall; and as a cause when it
    falls, but the error is still that of a constant, and three steps were beyond the limit.

    Not flagged: parameters that start at zero, runs that learn, a loss that grows along gradients that agree (its sign
    is wrong, see diverging-loss).

    References: Ben Braiek & Khomh (2022) TheDeepChecker, doi:10.1145/3529318.
    """
    progress = learns(history)
    fit = fit_of(history)
    barely = progress and fit is not None and fit.closing > 0.8
    if (progress and not barely) or progress is None or climbs(history):
        return
    table = history["parameter"]
    columns = matrices(table)
    ratios = update_ratios(history)
    if not columns.any() or not len(ratios):
        raise NotJudged("no update of a weight matrix was measured")
    if not np.isfinite(ratios[:, columns]).any():
        return  # born zero, and never anything else
    ratios = np.where(np.isfinite(ratios[:, columns]).any(axis=1)[:, None], ratios, 0)
    median = np.nanmedian(ratios[:, columns], axis=1)
    opening = float(np.nanmedian(median[: max(3, len(median) // 10)]))
    peak = np.nan_to_num(median, nan=0.0, posinf=1e30)
    accidents = _accidents(history)
    if accidents:
        opening = float(np.nanmedian(median))
        peak[accidents] = 0
    if (peak > limit).sum() < (3 if barely else steps) and (barely or not opening > typical):
        return
    row = int(np.argmax(peak > limit)) if (peak > limit).any() else 0
    own = float(median[0]) > absurd and 0.1 < _first_steepness(history) < 10
    names = np.flatnonzero(columns)
    for i in names[np.argsort(-np.nan_to_num(ratios[row, columns]))][:4]:
        s = table.subjects[i]
        value = float(ratios[row, i])
        bound = limit if value > limit else typical
        if value > bound:
            yield Evidence(
                "update norm / parameter norm",
                value,
                ">",
                bound,
                int(table.steps[row]),
                s.name,
                s.module,
                role=Role.CAUSE if barely else Role.HARM,
                own=own,
            )


def _first_steepness(history: History) -> float:
    """Gradient norm x parameter norm / |loss| at the first step; NaN when unknown."""
    total, loss = total_gradient(history)[:1], np.abs(history.run("loss"))[:1]
    norms = history["parameter"].column("parameter_norm")[:1]
    if not len(total) or not len(loss) or not len(norms) or not loss[0] > 0:
        return float("nan")
    return float(total[0] * np.sqrt(np.nansum(np.square(norms[0], dtype="f8"))) / loss[0])


def _accidents(history: History) -> list[int]:
    """Rows of the parameter table whose gradient is a spike, with the first ones, where spikes recur: then the samples
    are the cause and not the learning rate (see gradient-spike)."""
    rows, _ = spikes_of(history, factor=100.0, settled=5, wide=10)
    if len(rows) < 3:
        return []
    steps = set(history["gradient"].steps[rows].tolist()) | set(range(5))
    return [i for i, step in enumerate(history["parameter"].steps.tolist()) if step in steps]
