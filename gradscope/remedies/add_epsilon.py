"""add-epsilon."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-loss", "non-finite-gradient", rank=10)
def add_epsilon(verdict: Verdict, _history: History) -> Remedy | None:
    """A small constant where a function has no value or no slope; None where the step was run again and it was not a
    function's fault, but that of what it was given."""
    origin = verdict.origin
    if origin is not None and (
        origin.culprit or origin.phase in {"input", "parameter"} or told_otherwise(origin.reason)
    ):
        return None
    reason = "log(0), 0/0, sqrt at 0 (its slope is infinite) and exp of large numbers are not finite"
    if origin is not None and origin.reason:
        reason = f"{origin.op}: {origin.reason}"
    return Remedy(
        "add-epsilon",
        "keep arguments away from where a function ends",
        reason,
        {
            "torch": (
                "torch.log(p.clamp_min(1e-7)); torch.sqrt(x + 1e-8); a / (b + 1e-8)\n"
                "# or a fused loss: F.binary_cross_entropy_with_logits(logits, target)"
            ),
            "tensorflow": (
                "tf.math.log(tf.maximum(p, 1e-7)); tf.sqrt(x + 1e-8); tf.math.divide_no_nan(a, b)\n"
                "# or a fused loss: keras.losses.BinaryCrossentropy(from_logits=True)"
            ),
            "jax": (
                "jnp.log(jnp.maximum(p, 1e-7)); jnp.sqrt(x + 1e-8); a / (b + 1e-8)\n"
                "# or a fused loss: optax.sigmoid_binary_cross_entropy(logits, target)\n"
                "# jnp.where hides no NaN from the gradient: guard what stands inside it"
            ),
        },
        "Goldberg (1991) doi:10.1145/103162.103163",
        cost="none",
        risk="an epsilon too large biases small values",
        settings={"epsilon": 1e-7},
    )


def told_otherwise(reason: str) -> bool:
    """Whether an origin is one that no epsilon cures."""
    return any(word in reason for word in ("masked", "overflow"))
