"""lower-learning-rate."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import WANTED_RATIO, largest_ratio, rounded, usual_rate
from gradscope.verdict import Remedy, Verdict


@remedy("oversized-update", "dead-units", "diverging-loss", "oscillating-loss", "exploding-gradient", rank=10)
def lower_learning_rate(_verdict: Verdict, history: History) -> Remedy | None:
    """Learning rate down, so that an update is a hundredth of its weights."""
    rate, ratio = usual_rate(history), largest_ratio(history)
    if rate is None or ratio is None or ratio < 0.02:
        return None
    better = rounded(rate * WANTED_RATIO / ratio)
    return Remedy(
        "lower-learning-rate",
        f"lower the learning rate from {rate:g} to about {better:g}",
        f"the largest update was {ratio:.2g} of the weights; about {WANTED_RATIO:g} is usual",
        {
            "torch": (
                f"optimizer = torch.optim.{history.facts.get('optimizer', 'SGD')}(model.parameters(), lr={better:g})"
            )
        },
        "Smith (2017) Cyclical learning rates, arXiv:1506.01186",
    )
