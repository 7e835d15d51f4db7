"""open-mask."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-loss", "non-finite-gradient", rank=5)
def open_mask(verdict: Verdict, _history: History) -> Remedy | None:
    """A mask that leaves every row something to look at; None unless the step was run again and found one that does
    not."""
    origin = verdict.origin
    if origin is None or "masked entirely" not in origin.reason:
        return None
    return Remedy(
        "open-mask",
        "leave every row of the mask one place, or fill with a large number instead of infinity",
        f"{origin.op}: {origin.reason}",
        {
            "torch": (
                "mask = mask & ~mask.all(-1, keepdim=True)  # True hides: a row that hides all hides nothing\n"
                "# or: scores.masked_fill(mask, torch.finfo(scores.dtype).min)"
            ),
            "tensorflow": "scores = tf.where(mask, scores.dtype.min, scores)  # not -inf",
            "jax": "scores = jnp.where(mask, jnp.finfo(scores.dtype).min, scores)  # not -inf",
        },
        "Vaswani et al. (2017) Attention is all you need, arXiv:1706.03762",
        cost="none",
        risk="what such a row puts out means nothing: leave it out of the loss as well",
    )
