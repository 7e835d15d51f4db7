"""weight-decay."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import is_plain
from gradscope.remedy import remedy
from gradscope.usual import swollen_weights, usual_rate
from gradscope.verdict import Remedy, Verdict

DECAY = 0.01
"""The default of AdamW; learning rate x decay of it goes in each step."""


@remedy("saturated-units", "oversized-update", "diverging-loss", rank=70, usual={"decay": DECAY})
def weight_decay(_verdict: Verdict, history: History) -> Remedy | None:
    """Decoupled weight decay, where the weights have grown manifold under an adaptive optimizer."""
    grown = swollen_weights(history)
    if grown is None or is_plain(history):
        return None
    rate = f"{usual_rate(history) or 1e-3:g}"
    return Remedy(
        "weight-decay",
        f"add decoupled weight decay of {DECAY:g}",
        f"the weights have grown to {grown:.3g} times their norm: decay takes back what no gradient asks for",
        {
            "torch": f"optimizer = torch.optim.AdamW(model.parameters(), lr={rate}, weight_decay={DECAY:g})",
            "tensorflow": f"optimizer = keras.optimizers.AdamW(learning_rate={rate}, weight_decay={DECAY:g})",
            "jax": f"optimizer = optax.adamw({rate}, weight_decay={DECAY:g})",
        },
        "Loshchilov & Hutter (2019) arXiv:1711.05101",
        cost="one product per weight a step",
        risk="too much of it makes the best constant of every prediction; biases and scales are best left out",
        settings={"decay": DECAY},
    )
