"""GS301 diverging-loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of, main_site
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import loss_trend, runs_away, sound, total_gradient
from gradscope.usual import growth
from gradscope.verdict import Evidence, Role


@rule(
    "GS301",
    explains=(
        "non-finite-loss",
        "non-finite-gradient",
        "non-finite-parameter",
        "oversized-update",
        "exploding-gradient",
        "stalled-loss",
        "gradient-spike",
        "dead-units",
        "saturated-units",
    ),
)
def diverging_loss(
    history: History, *, rise: float = 1.5, fall: float = 10.0, sudden: float = 10.0, boundless: float = 1e6
) -> Iterator[Evidence]:
    """The loss grows, or falls without bound below what it can mean.

    What it does: compares closing and opening of the loss, and of the error of the prediction where that is known.
    Where no loss call was understood, a rise alone is a note: it is an error when the weights tell the same (they are
    not finite, replaced by the steps, or swollen), for what a loss written by hand means cannot be seen.

    Why is this bad: the optimizer follows the wrong direction: a sign, a missing square, ascent instead of descent, or
    steps that are far too long.

    Thresholds: rise, closing over opening of a loss that rises beyond its noise; fall, how many times its opening size
    a negative loss must have reached while its error grew or its gradient did not shrink; sudden, growth of a run too
    short for a trend; boundless, growth that no meaning of a loss explains.

    Not flagged: likelihoods that pass below zero and level off, losses of objectives that compete, moving targets (as
    in Q-learning) whose error stays near that of a constant; policy gradients, whose loss grows with the return, are
    noted alone.
    """
    if history.facts.get("competing"):
        raise NotJudged("several optimizers have losses of their own: a rising loss may be as intended")
    trend, fit = loss_trend(history), fit_of(history)
    start = int(history["step"].steps[0]) if len(history["step"]) else 0
    if trend is None:
        values = sound(history, history.run("loss"))
        values = values[np.isfinite(values)]
        if (
            len(values) >= 3
            and values[0] > 0
            and values[-1] > sudden * values[0]
            and (np.diff(values) > 0).mean() >= 0.75
        ):
            onset = int(history["step"].steps[int(np.argmax(values > sudden * values[0]))])
            yield Evidence("loss / first loss", float(values[-1] / values[0]), ">", sudden, onset, role=Role.HARM)
        return
    worse = fit is not None and fit.closing > rise * max(fit.opening, 1.0)
    if trend.rising and trend.first > 0 and trend.last > rise * trend.first and (worse or fit is None):
        onset = _onset(history, rise * trend.first)
        known = main_site(history) is not None or runs_away(history) or growth(history) is not None
        known = known or trend.last > boundless * trend.first
        yield Evidence(
            "loss at the end / at the beginning",
            trend.last / trend.first,
            ">",
            rise,
            onset,
            role=Role.HARM if known else Role.NOTE,
            detail="" if known else "terms of the loss unknown",
        )
    elif trend.last < 0 and trend.falling and abs(trend.last) > fall * max(abs(trend.first), trend.noise * 0.1):
        total = total_gradient(history)
        quarter = max(1, len(total) // 4)
        growing = float(np.median(total[-quarter:])) >= float(np.median(total[:quarter]))
        far = fit is not None and fit.closing > fall * max(fit.opening, 1.0)
        unlearnt = fit is None or fit.closing >= 0.95
        if far or (unlearnt and growing and _keeps_falling(history)):
            yield Evidence(
                "|loss| at the end / at the beginning, below zero",
                abs(trend.last / trend.first),
                ">",
                fall,
                start,
                role=Role.HARM,
            )
            if far and fit is not None:
                yield Evidence(
                    "error / that of a constant prediction",
                    fit.closing,
                    ">",
                    fall,
                    start,
                    module=fit.site.module,
                    role=Role.HARM,
                )


def _keeps_falling(history: History) -> bool:
    """Whether the loss falls half as fast in the last third as in the first, or faster.

    A likelihood levels off, a wrong loss does not.
    """
    loss = sound(history, history.run("loss"))
    loss = loss[np.isfinite(loss)]
    third = len(loss) // 3
    if third < 3:
        return False
    first = float(np.mean(loss[: third // 2]) - np.mean(loss[third // 2 : third]))
    last = float(np.mean(loss[-third : -third // 2]) - np.mean(loss[-third // 2 :]))
    return last > 0 and last >= 0.5 * first


def _onset(history: History, level: float) -> int:
    """The first step from which on the loss is above a level for most of the rest."""
    loss = sound(history, history.run("loss"))
    above = np.nan_to_num(loss, nan=np.inf) > level
    rest = np.cumsum(above[::-1])[::-1] / np.arange(len(above), 0, -1)
    rows = np.flatnonzero(above & (rest > 0.8))
    return int(history["step"].steps[rows[0] if len(rows) else 0])
