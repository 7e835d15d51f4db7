"""GS102 exploding-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.trend import layers, learns, loss_trend, matrices, sound_rows, total_gradient, update_ratios
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
        "oscillating-loss",
        "gradient-spike",
        "stalled-loss",
        "saturated-units",
        "collapsed-output",
    ),
)
def exploding_gradient(
    history: History, *, growth: float = 100.0, update: float = 0.1, depth: float = 1e3
) -> Iterator[Evidence]:
    """The gradient grows through depth or over time, and throws the weights away.

    What it does: three signs. The first steps' gradient is many times that of the rest of the run and moves the weights by
    a large part of themselves. The gradient grows over the run. The first layer's gradient is many times the last one's.

    Why is this bad: one such step undoes what hundreds have learnt.

    Thresholds: growth, the factor between such steps and the median; update, the relative update that shows the step did
    hit the weights; depth, first over last layer. Healthy tanh networks under Adam peak at 58 between first and last layer,
    so the published 70 (AutoTrainer) has no margin. Always together with a loss that does not fall.

    Not flagged: gradients that fall as the loss falls, large gradients that clipping or Adam turns into ordinary updates.

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
    opening = float(total[:3].max())
    worst = _worst(history)
    if middle > 0 and opening / middle >= growth and np.nanmax(largest[:3]) >= update:
        yield Evidence(
            "gradient norm of the first steps / median",
            opening / middle,
            ">=",
            growth,
            int(table.steps[0]),
            *worst,
            role=Role.HARM,
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
