"""weaken-penalty."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("over-regularized", rank=10, usual={"factor": 0.01})
def weaken_penalty(verdict: Verdict, _history: History) -> Remedy | None:
    """A penalty that the data can outweigh."""
    e = verdict.evidence[0]
    reason = f"the weights shrank to {e.value:.2g} of their initial norm while the prediction stayed a constant"
    return Remedy(
        "weaken-penalty",
        "weaken the penalty (weight decay, L1, L2) by a factor of 100 or more",
        reason,
        {
            "torch": "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)",
            "tensorflow": "optimizer = keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-4)",
            "jax": "optimizer = optax.adamw(1e-3, weight_decay=1e-4)",
        },
        "Loshchilov & Hutter (2019) arXiv:1711.05101",
        cost="none",
        risk="the gap between training and held-out data may widen",
        settings={"factor": 0.01},
    )
