"""l1-penalty."""

from __future__ import annotations

from gradscope.gap import gap_reason
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

FACTOR = 1e-5
"""Of the sum of magnitudes."""


@remedy(rank=80, usual={"l1": FACTOR})
def l1_penalty(_verdict: Verdict | None, history: History) -> Remedy | None:
    """The sum of magnitudes of the weights beside the loss. Answers to no rule: what it does shows on held-out data."""
    return Remedy(
        "l1-penalty",
        f"add the sum of magnitudes of the weights to the loss, times {FACTOR:g}",
        gap_reason(history, "it sets weights to zero that little speaks for"),
        {
            "torch": (
                "magnitudes = sum(p.abs().sum() for p in model.parameters() if p.ndim > 1)\n"
                f"loss = loss + {FACTOR:g} * magnitudes"
            ),
            "tensorflow": f"layers.Dense(units, kernel_regularizer=keras.regularizers.L1({FACTOR:g}))  # and Conv2D",
            "jax": (
                "magnitudes = sum(jnp.sum(jnp.abs(p)) for p in jax.tree.leaves(params) if p.ndim > 1)\n"
                f"loss = loss_fn(params, x, y) + {FACTOR:g} * magnitudes"
            ),
        },
        "Tibshirani (1996) Regression shrinkage and selection via the lasso",
        cost="one sign per weight a step",
        risk="of features that tell the same it keeps one at random",
        settings={"l1": FACTOR},
    )
