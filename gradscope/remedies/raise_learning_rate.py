"""raise-learning-rate."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import largest_ratio, rounded, usual_rate
from gradscope.verdict import Remedy, Verdict


@remedy("undersized-update", "slow-convergence", rank=10)
def raise_learning_rate(_verdict: Verdict, history: History) -> Remedy | None:
    """Learning rate up, so that an update is a thousandth of its weights."""
    rate, ratio = usual_rate(history), largest_ratio(history)
    if rate is None or not ratio or ratio > 1e-3:
        return None
    better = rounded(rate * min(1e-3 / ratio, 1e4))
    return Remedy(
        "raise-learning-rate",
        f"raise the learning rate from {rate:g} to about {better:g}",
        f"the largest update of the run was {ratio:.2g} of the weights; about 0.001 is usual",
        {
            "torch": f"optimizer = torch.optim.{history.facts.get('optimizer', 'Adam')}(model.parameters(), lr={better:g})"
        },
        "Smith (2017) Cyclical learning rates, arXiv:1506.01186",
    )
