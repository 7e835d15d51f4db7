"""correct-objective."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("diverging-loss", rank=5)
def correct_objective(_verdict: Verdict, _history: History) -> Remedy | None:
    """A loss that is smallest where the prediction is right."""
    return Remedy(
        "correct-objective",
        "check the sign and the form of the loss",
        "it keeps moving away from a fit: a missing square or absolute value, a wrong sign, or ascent",
        {"torch": "loss = (prediction - target).pow(2).mean()  # bounded below, smallest for a perfect fit"},
        "Bishop (2006) section 1.2.5",
    )
