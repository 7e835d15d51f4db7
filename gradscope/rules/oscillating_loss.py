"""GS303 oscillating-loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import Fit, fit_of, why_no_fit
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import batch_size, loss_trend
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
    history: History, *, sorted_share: float = 0.5, learnt: float = 0.5, fewest: int = 20, pure: float = 0.8
) -> Iterator[Evidence]:
    """The loss jumps without progress, because batches do not resemble each other.

    What it does: measures how alike the targets within a batch are, beside what batches drawn at random would show: the
    excess of the chance that two targets of a batch have the same class, or of the variance between batches.

    Why is this bad: data sorted by class or by time makes each stretch of batches undo what the last one taught.

    Thresholds: sorted_share, the excess on a scale from 0 (drawn at random) to 1 (one class per batch); batches of 8
    and more drawn at random stay under 0.1. fewest, steps whose targets were seen. learnt, the mean error of the second
    half beside a constant's under which a run learns whatever its loss does; the mean, because between two jumps a run
    over sorted data is all but perfect. pure, the excess from which on the mean says nothing either, as every batch is
    answered by the one class it holds: then a tenth of the errors beyond half of a constant's show what was forgotten.
    Reported when the loss does not fall steadily.

    Not flagged: batches of one, curricula and domains in blocks whose targets stay mixed, runs that learn, objectives
    that compete, targets that are one constant by design (real and fake of an adversarial loss).
    """
    if history.facts.get("competing"):
        raise NotJudged("several optimizers have losses of their own: they measure no progress")
    fit = fit_of(history)
    if fit is None:
        raise NotJudged(why_no_fit(history))
    table = history["loss"]
    size = batch_size(history)
    if len(table) < fewest or not size >= 4 or _by_design(history, fit):
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
    reason = _not_the_loss(history, fit)
    if reason is not None:
        raise NotJudged(reason)
    jumps = not trend.falling or trend.noise > 0.5 * abs(trend.last)
    forgotten = counts is not None and excess >= pure and _worst(history, fit) > learnt
    if excess >= sorted_share and (
        fit.closing >= 0.9 or (jumps and (forgotten or max(fit.closing, fit.mean) > learnt))
    ):
        yield Evidence(
            "excess of alike targets within a batch",
            excess,
            ">=",
            sorted_share,
            int(table.steps[0]),
            source=fit.site.source,
            role=Role.HARM,
        )


def _worst(history: History, fit: Fit) -> float:
    """The error that a tenth of the steps of the second half exceed, beside a constant's."""
    errors = history["loss"].series("value", fit.site.name)
    late = errors[len(errors) // 2 :]
    late = late[np.isfinite(late)]
    return float(np.quantile(late, 0.9)) / fit.baseline if len(late) else 0.0


def _by_design(history: History, fit: Fit) -> bool:
    """Whether all targets of the loss call are one constant, or several calls from one line have targets of their own:
    then what is alike within a batch says nothing about the order of the data."""
    table = history["loss"]
    means, inner = (table.series(q, fit.site.name) for q in ("target_mean", "target_deviation"))
    known = np.isfinite(means) & np.isfinite(inner)
    if known.any() and inner[known].max() == 0 and np.ptp(means[known]) == 0:
        return True
    counts = history.classes.get(fit.site.name)
    seen = float(np.nansum(table.series("target_elements", fit.site.name)))
    return counts is not None and not table.dropped and float(counts.sum()) > 1.9 * seen > 0


def _not_the_loss(history: History, fit: Fit) -> str | None:
    """Why the loss does not move with this loss call alone (policy and value, say); None when it does."""
    quantity = "prediction_squared_error" if fit.site.traits.get("function") == "difference" else "value"
    part, loss = history["loss"].series(quantity, fit.site.name), history.run_at("loss", "loss")
    known = np.isfinite(part) & np.isfinite(loss)
    if known.sum() < 5:
        return "the loss and the error of the prediction are known together in fewer than 5 steps"
    part, loss = part[known], loss[known]
    factor = float(np.median(loss / np.where(part == 0, np.nan, part)))
    if np.allclose(loss, factor * part, rtol=1e-3, atol=0):
        return None
    if part.std() > 0 and loss.std() > 0 and abs(np.corrcoef(part, loss)[0, 1]) > 0.9:
        return None
    passes = history.run("backward_passes")
    if np.isfinite(passes).any() and np.nanmedian(passes) > 1:
        return "gradients accumulate over several batches: the targets of one do not tell how the loss must move"
    if part.std() == 0 or loss.std() == 0:
        return "the loss, or the error of the prediction, never changes"
    return "the loss is made of several terms: one term's targets do not tell how the loss must move"


def _neighbours_alike(means: Array) -> bool:
    """Whether batches resemble the batch before: sorted data does, the episodes of a game do not."""
    known = means[np.isfinite(means)]
    if len(known) < 5 or known.std() == 0:
        return False
    return bool(np.corrcoef(known[:-1], known[1:])[0, 1] > 0.5)
