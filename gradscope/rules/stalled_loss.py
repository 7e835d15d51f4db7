"""GS302 stalled-loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of, why_no_fit
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import loss_trend
from gradscope.verdict import Evidence, Role


@rule("GS302", explains=())
def stalled_loss(
    history: History, *, close: float = 0.98, above: float = 1.5, heading: float = 0.15, fewest: int = 50
) -> Iterator[Evidence]:
    """The loss does not move: the prediction is no better than a constant.

    What it does: divides the error of the last quarter of the run by that of the best constant prediction (the
    variance of the targets, or the entropy of the classes).

    Why is this bad: nothing of the input reaches the prediction: labels do not belong to inputs, the signal is cut, or
    the optimizer does nothing.

    Thresholds: close, the ratio from which on there is nothing but a constant (its sampling error is a few percent);
    above, the ratio beyond which the loss must stand still too (a run that starts far off and falls is slow, not
    stalled). Healthy runs measured here end their observation under 0.9. heading, the mean cosine of consecutive
    gradients above which a loss that falls, if barely, has only begun to (healthy recurrent networks linger at the
    constant for hundreds of steps). fewest, steps seen.

    Not flagged: a plateau that is ending in the last steps; losses without a prediction and a target that could be seen
    (not judged), objectives that compete.
    """
    if history.facts.get("competing"):
        raise NotJudged("several optimizers have losses of their own: they measure no progress")
    fit, trend = fit_of(history), loss_trend(history)
    if fit is None:
        raise NotJudged(why_no_fit(history))
    if trend is None and history.steps >= fewest:
        raise NotJudged("the loss is unknown")
    if trend is None or history.steps < fewest:
        raise NotJudged(f"fewer than {fewest} steps")
    stuck = close <= fit.closing <= above or (fit.closing > above and not trend.falling)
    cosine = history.run("gradient_cosine")[len(history["step"]) // 2 :]
    moving = trend.gain > 0 and trend.significance > 3 and np.isfinite(cosine).any() and np.nanmean(cosine) >= heading
    if (
        stuck
        and not moving
        and not (fit.closing < 1.1 and _has_left(history))
        and fit.closing >= 0.9 * min(fit.opening, 1.0)
    ):
        yield Evidence(
            "error / that of a constant prediction",
            fit.closing,
            ">=",
            close,
            None,
            module=fit.site.module,
            source=fit.site.source,
            role=Role.HARM,
        )


def _has_left(history: History, *, least: float = 0.05, wide: int = 5) -> bool:
    """Whether some steps in a row of the last quarter lie clearly under what came before: a plateau that is ending."""
    loss = history.run("loss")
    loss = loss[np.isfinite(loss)]
    before, last = np.split(loss, [len(loss) * 3 // 4])
    if len(last) < wide:
        return False
    middle = float(np.median(before))
    spread = 1.4826 * float(np.median(np.abs(before - middle)))
    lowest = float(np.median(np.lib.stride_tricks.sliding_window_view(last, wide), axis=1).min())
    return middle - lowest > max(least * abs(middle), 4 * spread)
