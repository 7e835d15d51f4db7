"""GS303 oscillating-loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import Fit, batch_size, fit_of, loss_trend, why_no_fit
from gradscope.verdict import Evidence, Role


@rule(
    "GS303",
    explains=(
        "gradient-spike",
        "dead-units",
        "diverging-loss",
        "slow-convergence",
        "stalled-loss",
        "oversized-update",
        "noisy-gradient",
    ),
)
def oscillating_loss(
    history: History, *, sorted_share: float = 0.5, learnt: float = 0.5, fewest: int = 20
) -> Iterator[Evidence]:
    """The loss jumps without progress, because batches do not resemble each other.

    What it does: measures how alike the targets within a batch are, beside what batches drawn at random would show: the
    excess of the chance that two targets of a batch have the same class, or of the variance between batches.

    Why is this bad: data sorted by class or by time makes each stretch of batches undo what the last one taught.

    Thresholds: sorted_share, the excess on a scale from 0 (drawn at random) to 1 (one class per batch); batches of 8
    and more drawn at random stay under 0.1. fewest, steps whose targets were seen. learnt, the mean error of the second
    half beside a constant's under which a run learns whatever its loss does; the mean, because between two jumps a run
    over sorted data is all but perfect. Reported when the loss does not fall steadily.

    Not flagged: batches of one, curricula and domains in blocks whose targets stay mixed, runs that learn.
    """
    fit = fit_of(history)
    if fit is None:
        raise NotJudged(why_no_fit(history))
    table = history["loss"]
    size = batch_size(history)
    if len(table) < fewest or not size >= 4:
        return
    counts = history.classes.get(fit.site.name)
    if counts is not None and counts.sum() > 0:
        share = counts / counts.sum()
        expected = float(np.square(share).sum())
        purity = table.series("target_purity", fit.site.name)
        drawn = expected + (1 - expected) / size
        excess = (float(np.nanmean(purity)) - drawn) / max(1 - drawn, 1e-9) if expected < 0.95 else 0.0
    else:
        means, inner = (table.series(q, fit.site.name) for q in ("target_mean", "target_deviation"))
        between, within = float(np.nanvar(means)), float(np.nanmean(inner**2))
        excess = between / max(between + within, 1e-300) - 1 / size if _neighbours_alike(means) else 0.0
    trend = loss_trend(history)
    if trend is None:
        raise NotJudged("the loss is unknown")
    if not _is_the_loss(history, fit):
        raise NotJudged("the loss is made of several terms: one term's targets do not tell how the loss must move")
    jumps = not trend.falling or trend.noise > 0.5 * abs(trend.last)
    if excess >= sorted_share and (fit.closing >= 0.9 or (jumps and max(fit.closing, fit.mean) > learnt)):
        yield Evidence(
            "excess of alike targets within a batch",
            excess,
            ">=",
            sorted_share,
            int(table.steps[0]),
            source=fit.site.source,
            role=Role.HARM,
        )


def _is_the_loss(history: History, fit: Fit) -> bool:
    """Whether the loss moves with this loss call alone: with several terms (policy and value, say) it does not."""
    quantity = "prediction_squared_error" if fit.site.traits.get("function") == "difference" else "value"
    part = history["loss"].series(quantity, fit.site.name)
    rows = np.searchsorted(history["step"].steps, history["loss"].steps)
    if not len(rows) or rows.max() >= len(history["step"]):
        return False
    loss = history.run("loss")[rows]
    known = np.isfinite(part) & np.isfinite(loss)
    if known.sum() < 5 or part[known].std() == 0 or loss[known].std() == 0:
        return False
    return bool(np.corrcoef(part[known], loss[known])[0, 1] > 0.9)


def _neighbours_alike(means: Array) -> bool:
    """Whether batches resemble the batch before: sorted data does, the episodes of a game do not."""
    known = means[np.isfinite(means)]
    if len(known) < 5 or known.std() == 0:
        return False
    return bool(np.corrcoef(known[:-1], known[1:])[0, 1] > 0.5)
