"""wide-operation."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-loss", "non-finite-gradient", rank=6)
def wide_operation(verdict: Verdict, _history: History) -> Remedy | None:
    """An operation computed in a wider type; None unless the step was run again and a half-precision one overflowed."""
    origin = verdict.origin
    if origin is None or "overflow" not in origin.reason or "float16" not in origin.reason:
        return None
    return Remedy(
        "wide-operation",
        "compute this operation in float32, or use bfloat16, whose largest number is that of float32",
        f"{origin.op}: {origin.reason}",
        {
            "torch": 'with torch.autocast("cuda", enabled=False):\n    h = h.float() ** 2  # the operation, in float32',
            "tensorflow": "h = tf.cast(h, tf.float32) ** 2  # the operation, in float32",
            "jax": "h = h.astype(jnp.float32) ** 2  # the operation, in float32",
        },
        "Micikevicius et al. (2018) Mixed precision training, arXiv:1710.03740",
        cost="the time and memory of float32 in one place",
        risk="none for the result",
    )
