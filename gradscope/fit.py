"""How good the predictions of a history are: beside the best constant one, and whether the training makes progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradscope.history import History, Subject
from gradscope.trend import FEWEST, first_nonfinite_step, loss_trend, once, runs_away, sound, trend_of


@dataclass(frozen=True, slots=True)
class Fit:
    """The error of a prediction as a multiple of that of the best constant prediction.

    1 is no better than the constant, 0 is perfect. opening and closing as in Trend; mean: that of the second half, in
    which the few batches count that a median passes over; site: the loss call it is from.
    """

    opening: float
    closing: float
    error: float
    site: Subject
    baseline: float
    mean: float


SQUARED = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "difference"})
"""Losses of a prediction that is of the target's own kind, so that their squared difference means something."""


def pairs_up(site: Subject) -> bool:
    """Whether a difference written by hand is meant to meet every prediction with every target.

    Both have the same rank, and each has a dimension of one where the other has more: somebody inserted it. Chamfer
    distances, kernels (MMD) and energy distances are written so; [N, 1] against [N] is not.
    """
    if site.traits.get("function") != "difference":
        return False
    given, wanted = site.traits.get("prediction_shape", ()), site.traits.get("target_shape", ())
    both = list(zip(given, wanted, strict=False))
    return len(given) == len(wanted) and any(a == 1 < b for a, b in both) and any(b == 1 < a for a, b in both)


def main_site(history: History) -> Subject | None:
    """The loss call that was seen most often with a target of its own; None when no loss call was understood."""
    table = history["loss"]
    counts = np.isfinite(table.column("target_elements")).sum(axis=0)
    counts = counts * [not (s.traits.get("target_carries_gradient", False) or pairs_up(s)) for s in table.subjects]
    return table.subjects[int(counts.argmax())] if len(counts) and counts.max() >= FEWEST else None


@once
def fit_of(history: History) -> Fit | None:
    """How much better than a constant the prediction is, from ranges seen at the loss; None when that is not known."""
    site = main_site(history)
    if site is None:
        return None
    table = history["loss"]
    counts = history.classes.get(site.name)
    if counts is not None:
        share = counts[counts > 0] / counts.sum()
        baseline = float(-(share * np.log(share)).sum())
        errors = table.series("value", site.name)
        if site.traits.get("reduction") == "sum":
            errors = errors / table.series("target_elements", site.name)
    else:
        means, deviations = (table.series(q, site.name) for q in ("target_mean", "target_deviation"))
        baseline = math.nan
        if np.isfinite(means).any() and site.traits.get("function") in SQUARED:
            between = 1.4826 * float(np.nanmedian(np.abs(means - np.nanmedian(means))))
            baseline = float(np.nanmedian(deviations**2)) + between**2
        errors = table.series("prediction_squared_error", site.name)
    seen = errors[np.isfinite(errors)]
    if len(seen) < FEWEST or not baseline > 0:
        return None
    trend = trend_of(seen)
    if trend is None:
        return None
    mean = float(seen[len(seen) // 2 :].mean()) / baseline
    return Fit(trend.first / baseline, trend.last / baseline, trend.last, site, baseline, mean)


def why_no_fit(history: History) -> str:
    """The reason why fit_of gives None."""
    site = main_site(history)
    if site is None:
        return "no prediction and target were seen at a loss"
    return f"what a constant prediction would reach is not known for {site.traits.get('function', site.name)}"


@once
def learns(history: History) -> bool | None:
    """Whether the training makes progress: the loss falls, or beats a constant prediction clearly. None: unknown.

    It is unknown for objectives that compete (a GAN's losses measure no progress), and where no loss call was
    understood and the loss merely rises: a policy gradient's loss grows with the return.
    """
    if history.facts.get("competing"):
        return None
    if first_nonfinite_step(history) is not None:
        return False
    trend, fit = loss_trend(history), fit_of(history)
    if trend is None and fit is None:
        return None
    if fit is not None and fit.closing < 0.8:
        return True
    if fit is not None and fit.closing >= 0.95:
        return False
    if fit is None and changes_sign(history):
        return None
    if main_site(history) is None and trend is not None and trend.rising and not runs_away(history):
        return None
    if trend is not None and trend.last > 10 * abs(birth(history)) and runs_away(history):
        return False  # it falls from where the first steps have thrown it
    if trend is None or (trend.noise > 0.5 * abs(trend.last) and trend.gain > 0.3 and trend.significance > 1.5):
        return None  # it seems to fall, but so few and so noisy losses cannot tell
    return trend.falling


def birth(history: History) -> float:
    """The loss of the very first step, before anything was changed; Inf when it is not known."""
    loss = history.run("loss")
    return float(loss[0]) if len(loss) and np.isfinite(loss[0]) else math.inf


def changes_sign(history: History) -> bool:
    """Whether the loss is often on either side of zero: then it measures no progress (policy gradients, critics)."""
    loss = sound(history, history.run("loss"))
    seen = loss[np.isfinite(loss)]
    return len(seen) > 0 and min(float((seen < 0).mean()), float((seen > 0).mean())) > 0.1
