"""residual-connection."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("vanishing-gradient", rank=30)
def residual_connection(_verdict: Verdict, _history: History) -> Remedy | None:
    """A path around each layer."""
    return Remedy(
        "residual-connection",
        "add residual connections",
        "the gradient then reaches the first layers undiminished",
        {"torch": "x = x + self.block(x)"},
        "He et al. (2016) arXiv:1512.03385",
    )
