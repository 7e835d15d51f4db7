"""residual-connection."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import is_network, kinds
from gradscope.verdict import Remedy, Verdict


@remedy("vanishing-gradient", rank=30)
def residual_connection(_verdict: Verdict, history: History) -> Remedy | None:
    """A path around each layer; not where sigmoids, whose values are all positive, would add up along it."""
    if not is_network(history) or any(k.startswith("sigmoid") for k in kinds(history)):
        return None
    return Remedy(
        "residual-connection",
        "add residual connections",
        "the gradient then reaches the first layers undiminished",
        {
            "torch": "x = x + self.block(x)",
            "tensorflow": "x = layers.add([x, block(x)])",
            "jax": "x = x + block(x)",
        },
        "He et al. (2016) arXiv:1512.03385",
        cost="one addition per layer",
        risk="widths before and after must be equal; the signal grows with depth without a normalization",
    )
