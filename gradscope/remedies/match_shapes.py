"""match-shapes."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("broadcast-loss", rank=10)
def match_shapes(verdict: Verdict, _history: History) -> Remedy | None:
    """Prediction and target of one shape."""
    shapes = next((e.detail for e in verdict.evidence if e.detail), "the shapes")
    reason = f"{shapes} broadcast, so every prediction meets every target"
    return Remedy(
        "match-shapes",
        "give prediction and target the same shape",
        reason,
        {
            "torch": "loss = criterion(output, target.view_as(output))  # or output.squeeze(1)",
            "tensorflow": "loss = loss_fn(tf.reshape(target, tf.shape(output)), output)",
            "jax": "loss = loss_fn(output, target.reshape(output.shape))  # or jnp.squeeze(output, axis=1)",
        },
        "NumPy broadcasting rules",
        cost="none",
        risk="a reshape hides samples that are paired wrongly: look at both shapes once",
    )
