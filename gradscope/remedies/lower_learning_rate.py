"""lower-learning-rate."""

from __future__ import annotations

import math
from dataclasses import replace

from gradscope.history import History
from gradscope.optimizers import optimizer_lines
from gradscope.remedy import remedy
from gradscope.usual import WANTED_RATIO, growth, largest_ratio, rounded, usual_rate
from gradscope.verdict import Remedy, Verdict


@remedy(
    "oversized-update",
    "dead-units",
    "diverging-loss",
    "oscillating-loss",
    "exploding-gradient",
    rank=10,
    usual={"factor": 0.1},
)
def lower_learning_rate(_verdict: Verdict, history: History) -> Remedy | None:
    """Learning rate down, so that an update is a hundredth of its weights; or, where no update of a matrix was seen and
    the loss grows geometrically, to half of the largest rate at which it would not."""
    rate, ratio = usual_rate(history), largest_ratio(history)
    if ratio is None:
        return _from_growth(history, rate)
    if rate is None or ratio < 0.02:
        return None
    better = rounded(rate * WANTED_RATIO / ratio)
    reason = f"the largest update was {ratio:.2g} of the weights; about {WANTED_RATIO:g} is usual"
    told = [_told(history, _title(rate, r), reason, r, {"factor": r / rate, "rate": r}) for r in _rates(rate, better)]
    return replace(told[0], variants=tuple(told[1:]))


def _rates(rate: float, better: float) -> list[float]:
    """The rate that this run asks for, and one between: weights that were thrown far mislead it."""
    between = rounded(math.sqrt(rate * better))
    return [better, between] if between > 2 * better else [better]


def _title(rate: float, better: float) -> str:
    return f"lower the learning rate from {rate:g} to about {better:g}"


def _from_growth(history: History, rate: float | None) -> Remedy | None:
    factor = growth(history)
    if factor is None:
        return None
    part = 1 / (1 + math.sqrt(factor))
    reason = f"the loss is multiplied by {factor:.3g} in each step: the step is beyond 2 / curvature"
    if rate is None:
        return _told(history, f"lower the step size to {part:.1g} of what it is", reason, None, {"factor": part})
    settings = {"factor": part, "rate": rate * part}
    return _told(
        history, f"lower the step size from {rate:g} to about {rate * part:.1g}", reason, rate * part, settings
    )


def _told(history: History, title: str, reason: str, better: float | None, settings: dict[str, float]) -> Remedy:
    value = "..." if better is None else f"{better:.1g}"
    return Remedy(
        "lower-learning-rate",
        title,
        reason,
        optimizer_lines(history, value, otherwise="SGD"),
        "Smith (2017) Cyclical learning rates, arXiv:1506.01186; Bottou et al. (2018) arXiv:1606.04838",
        cost="more steps",
        risk="too far down nothing is learnt: compare after as many steps",
        settings=settings,
    )
