"""raise-learning-rate."""

from __future__ import annotations

from dataclasses import replace

from gradscope.history import History
from gradscope.optimizers import optimizer_lines
from gradscope.remedy import remedy
from gradscope.usual import largest_ratio, rounded, usual_rate
from gradscope.verdict import Remedy, Verdict


@remedy("undersized-update", "slow-convergence", rank=10, usual={"factor": 10.0})
def raise_learning_rate(verdict: Verdict, history: History) -> Remedy | None:
    """Learning rate up, so that an update is a thousandth of its weights; tenfold when it is already."""
    rate, ratio = usual_rate(history), largest_ratio(history)
    if rate is None or not ratio:
        return None
    slow = verdict.name == "slow-convergence"
    if ratio > 1e-3 and not slow:
        return None
    better = rounded(rate * (10.0 if ratio > 1e-3 else min(1e-3 / ratio, 1e6)))
    reason = f"the largest update of the run was {ratio:.2g} of the weights; about 0.001 is usual"
    if ratio > 1e-3:
        reason = "consecutive gradients point the same way: longer steps would get there sooner"
    told = [_told(history, rate, r, reason) for r in ([better] if slow else [better, rounded(10 * better)])]
    return replace(told[0], variants=tuple(told[1:]))


def _told(history: History, rate: float, better: float, reason: str) -> Remedy:
    return Remedy(
        "raise-learning-rate",
        f"raise the learning rate from {rate:g} to about {better:g}",
        reason,
        optimizer_lines(history, f"{better:g}", otherwise="Adam"),
        "Smith (2017) Cyclical learning rates, arXiv:1506.01186",
        cost="none",
        risk="too far up it diverges: go by factors of ten at most",
        settings={"factor": better / rate, "rate": better},
    )
