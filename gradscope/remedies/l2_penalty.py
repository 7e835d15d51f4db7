"""l2-penalty."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import is_plain
from gradscope.remedy import remedy
from gradscope.usual import swollen_weights
from gradscope.verdict import Remedy, Verdict

FACTOR = 1e-4
"""Of the sum of squares."""


@remedy("saturated-units", "oversized-update", "diverging-loss", rank=70, usual={"l2": 2 * FACTOR})
def l2_penalty(_verdict: Verdict, history: History) -> Remedy | None:
    """The sum of squares of the weights beside the loss, where they have grown under plain gradient descent."""
    grown = swollen_weights(history)
    if grown is None or not is_plain(history):
        return None
    return Remedy(
        "l2-penalty",
        f"add the sum of squares of the weights to the loss, times {FACTOR:g}",
        f"the weights have grown to {grown:.3g} times their norm; the penalty pulls the largest most",
        {
            "torch": (
                "squares = sum(p.square().sum() for p in model.parameters() if p.ndim > 1)\n"
                f"loss = loss + {FACTOR:g} * squares"
            ),
            "tensorflow": f"layers.Dense(units, kernel_regularizer=keras.regularizers.L2({FACTOR:g}))  # and Conv2D",
            "jax": (
                "squares = sum(jnp.sum(p**2) for p in jax.tree.leaves(params) if p.ndim > 1)\n"
                f"loss = loss_fn(params, x, y) + {FACTOR:g} * squares"
            ),
        },
        "Krogh & Hertz (1991) A simple weight decay can improve generalization",
        cost="one product per weight a step",
        risk="an adaptive optimizer divides it away: decoupled decay is better there",
        settings={"l2": 2 * FACTOR},
    )
