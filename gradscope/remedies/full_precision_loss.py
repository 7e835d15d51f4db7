"""full-precision-loss."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("loss-scale-collapse", rank=10, usual={"precision": "float32"})
def full_precision_loss(_verdict: Verdict, _history: History) -> Remedy | None:
    """The overflowing part in float32."""
    return Remedy(
        "full-precision-loss",
        "compute the part that overflows in float32",
        "float16 ends at 65504, that is exp(11); no loss scale helps an overflow in the forward pass",
        {
            "torch": (
                "with torch.autocast(device_type, enabled=False):\n"
                "    loss = F.cross_entropy(logits.float(), target)  # or bfloat16 for all"
            ),
            "tensorflow": (
                'layers.Dense(classes, dtype="float32")  # the last layer and the loss\n'
                'keras.mixed_precision.set_global_policy("mixed_bfloat16")  # or bfloat16 for all'
            ),
            "jax": (
                "scores = logits.astype(jnp.float32)  # or bfloat16 for all\n"
                "loss = optax.softmax_cross_entropy_with_integer_labels(scores, target).mean()"
            ),
        },
        "Micikevicius et al. (2018) arXiv:1710.03740",
        cost="twice the memory of the part in float32",
        risk="none",
        settings={"precision": "float32"},
    )
