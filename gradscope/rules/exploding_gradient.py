"""GS102 exploding-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of, learns
from gradscope.history import History
from gradscope.rule import rule
from gradscope.trend import layers, loss_trend, matrices, sound_rows, total_gradient, update_ratios
from gradscope.verdict import Evidence, Role


@rule(
    "GS102",
    explains=(
        "oversized-update",
        "dead-units",
        "diverging-loss",
        "non-finite-loss",
        "non-finite-gradient",
        "non-finite-parameter",
        "gradient-spike",
        "stalled-loss",
        "saturated-units",
        "collapsed-output",
    ),
)
def exploding_gradient(
    history: History, *, growth: float = 100.0, update: float = 0.1, depth: float = 1e3, steep: float = 50.0
) -> Iterator[Evidence]:
    """The gradient grows through depth or over time, and throws the weights away.

    What it does: three signs. The first gradient is many times that of the rest of the run, out of proportion to the
    loss, and moves the weights by a large part of themselves, or belongs to a prediction that is as many times worse
    than a constant. The gradient grows over the run. The first layer's gradient is many times the last one's.

    Why is this bad: one such step undoes what hundreds have learnt.

    Thresholds: growth, the factor between such steps and the median; update, the relative update that shows the step
    did hit the weights; steep, the relative change of the loss per relative change of the weights (healthy networks
    start between 0.1 and 10). depth, first over last layer. Healthy tanh networks under Adam peak at 58 between first
    and last layer, so the published 70 (AutoTrainer) has no margin. Always together with a loss that does not fall.

    Not flagged: gradients that fall as the loss falls, large gradients that clipping or Adam turns into ordinary
    updates.

    References: Pascanu et al. (2013) On the difficulty of training recurrent neural networks, arXiv:1211.5063.
    """
    if learns(history) is not False:
        return
    table = history["gradient"]
    rows = sound_rows(history, table)
    total = total_gradient(history)[rows]
    total = total[np.isfinite(total)]
    if len(total) < 3:
        return
    ratios = update_ratios(history)
    columns = matrices(history["parameter"])
    largest = np.nanmax(ratios[:, columns], axis=1) if columns.any() and len(ratios) else np.full(1, np.nan)
    middle = float(np.median(total[3:])) if len(total) > 3 else float(total[0])
    worst = _worst(history)
    sensitivity = _sensitivity(history, float(total[0]))
    if (
        middle > 0
        and total[0] / middle >= growth
        and sensitivity >= steep
        and (np.nanmax(largest[:1]) >= update or _far_off(history, growth))
    ):
        ratio = float(total[0]) / middle
        step = int(table.steps[0])
        yield Evidence("gradient norm of the first step / median", ratio, ">=", growth, step, *worst, role=Role.HARM)
        yield Evidence(
            "gradient x weights / loss at the first step", sensitivity, ">=", steep, step, *worst, role=Role.HARM
        )
    quarter = max(1, len(total) // 4)
    start, end = float(np.median(total[:quarter])), float(np.median(total[-quarter:]))
    trend = loss_trend(history)
    if start > 0 and end / start >= growth and (trend is None or not trend.falling):
        yield Evidence(
            "gradient norm at the end / at the beginning",
            end / start,
            ">=",
            growth,
            int(table.steps[-1]),
            *worst,
            role=Role.HARM,
        )
    ordered = layers(history)
    if len(ordered) >= 3:
        norms = np.median(
            np.where(table.column("gradient_norm")[rows] < 0, 0, table.column("gradient_norm")[rows])[:20], axis=0
        )
        sizes = np.array([max(np.sqrt(s.traits["size"]), 1.0) for s in table.subjects])
        profile = [float((norms / sizes)[c].max()) for _, c in ordered]
        if profile[-1] > 0 and profile[0] / profile[-1] >= depth:
            name = table.subjects[ordered[0][1][0]].name
            yield Evidence(
                "gradient RMS of the first layer / of the last",
                profile[0] / profile[-1],
                ">=",
                depth,
                int(table.steps[0]),
                name,
                ordered[0][0],
                role=Role.HARM,
            )


def _worst(history: History) -> tuple[str | None, str | None]:
    table = history["gradient"]
    norms = np.where(np.isfinite(table.column("gradient_norm")), table.column("gradient_norm"), 0)
    if not norms.size:
        return None, None
    s = table.subjects[int(norms[:3].max(axis=0).argmax())]
    return s.name, s.module


def _sensitivity(history: History, gradient: float) -> float:
    """Gradient norm x parameter norm / |loss| at the first step: how steep the loss is, whatever its unit."""
    norms = history["parameter"].column("parameter_norm")
    loss = history.run("loss")
    if not len(norms) or not len(loss) or not abs(loss[0]) > 0:
        return 0.0
    return gradient * float(np.sqrt(np.nansum(np.square(norms[0], dtype="f8")))) / abs(float(loss[0]))


def _far_off(history: History, times: float) -> bool:
    """Whether the first predictions are many times worse than a constant."""
    fit = fit_of(history)
    return fit is not None and fit.opening >= times
