"""GS605 unscaled-target."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import SQUARED, fit_of
from gradscope.history import History, Subject
from gradscope.rule import rule
from gradscope.trend import first_nonfinite_step
from gradscope.verdict import Evidence, Role


@rule(
    "GS605",
    explains=(
        "slow-convergence",
        "stalled-loss",
        "exploding-gradient",
        "undersized-update",
        "oversized-update",
        "poor-initialization",
        "dead-units",
        "diverging-loss",
        "non-finite-loss",
        "gradient-spike",
        "collapsed-output",
        "saturated-units",
    ),
)
def unscaled_target(
    history: History, *, large: float = 50.0, small: float = 1e-2, poor: float = 0.9, size: float = 3.0
) -> Iterator[Evidence]:
    """Targets are so large or so small that the loss and the learning rate do not fit them.

    What it does: root mean square of the targets over that of the first predictions.

    Why is this bad: Adam moves a weight by its learning rate and no more, so an output that must grow to 250000 needs
    hundreds of thousands of steps; with SGD the same targets make the first gradient explode.

    Thresholds: large and small, the ratio; poor, the error beside a constant prediction's; size, the least root mean
    square of targets that are called large: a fresh network whose output is nearly zero makes any target look large
    beside it, and is poorly initialized. A regression on targets of mean 20 has a ratio near 20 and learns. Reported
    when the prediction is no better than a constant at the end.

    Not flagged: class labels, targets of any size that are learnt.

    References: LeCun et al. (1998) Efficient backprop.
    """
    table = history["loss"]
    fit = fit_of(history)
    site = fit.site if fit is not None else _early_site(history)
    if site is None or site.traits.get("classes") or (fit is not None and fit.closing < poor):
        return
    name = site.name
    if site.traits.get("operation") in {"sigmoid", "tanh", "softmax"}:
        return
    target = np.sqrt(table.series("target_mean", name) ** 2 + table.series("target_deviation", name) ** 2)
    given = np.sqrt(table.series("prediction_mean", name) ** 2 + table.series("prediction_deviation", name) ** 2)
    usual, opening = float(np.nanmedian(target)), float(np.nanmedian(given[:1]))
    if not (opening > 0 and usual > 0):
        return
    ratio = usual / opening
    if (ratio >= large and usual >= size) or (ratio <= small and usual < small):
        bound, relation = (large, ">=") if ratio >= large else (small, "<=")
        step = int(table.steps[0])
        yield Evidence(
            "RMS of the targets / of the first predictions",
            ratio,
            relation,
            bound,
            step,
            module=site.module,
            source=site.source,
            role=Role.HARM,
            detail=f"targets of about {usual:.3g}",
        )


def _early_site(history: History) -> Subject | None:
    """The loss call of a run that was over before it could be compared with a constant: NaN within a few steps."""
    sites = [s for s in history["loss"].subjects if s.traits.get("function") in SQUARED]
    return sites[0] if sites and first_nonfinite_step(history) is not None else None
