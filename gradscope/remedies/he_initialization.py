"""he-initialization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("poor-initialization", "dead-units", "vanishing-gradient", "exploding-gradient", rank=15)
def he_initialization(_verdict: Verdict, _history: History) -> Remedy | None:
    """He initialization for ReLU, Glorot for tanh and sigmoid."""
    return Remedy(
        "he-initialization",
        "initialize the weights by He (ReLU) or Glorot (tanh, sigmoid)",
        "weights of deviation sqrt(2 / fan-in) keep the signal at its size from layer to layer",
        {
            "torch": (
                "for m in model.modules():\n    if isinstance(m, (nn.Linear, nn.Conv2d)):\n"
                '        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")\n        nn.init.zeros_(m.bias)'
            )
        },
        "He et al. (2015) arXiv:1502.01852; Glorot & Bengio (2010)",
    )
