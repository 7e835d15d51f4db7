"""replace-activation."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("vanishing-gradient", "dead-units", "saturated-units", rank=20)
def replace_activation(_verdict: Verdict, _history: History) -> Remedy | None:
    """An activation whose slope does not vanish."""
    return Remedy(
        "replace-activation",
        "replace the activation: sigmoid or tanh by ReLU, a dead ReLU by LeakyReLU or GELU",
        "sigmoid passes a quarter of the gradient at most, so ten layers pass a millionth; a dead ReLU passes none",
        {"torch": "act = nn.LeakyReLU(0.1)  # or nn.GELU()"},
        "Glorot et al. (2011) Deep sparse rectifier neural networks; Maas et al. (2013)",
    )
