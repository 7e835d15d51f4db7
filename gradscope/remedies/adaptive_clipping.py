"""adaptive-clipping."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.optimizers import is_by_hand, optax_name
from gradscope.remedy import remedy
from gradscope.trend import matrices, sound_rows
from gradscope.usual import is_network
from gradscope.verdict import Remedy, Verdict

SHARE = 0.01
"""Gradient norm / weight norm of a unit: what Brock et al. found best for large batches."""


@remedy("exploding-gradient", "gradient-spike", rank=50, usual={"limit": SHARE})
def adaptive_clipping(_verdict: Verdict, history: History) -> Remedy | None:
    """Clipping of each unit at a hundredth of its weights; where the gradients of this run exceed that."""
    table, gradients = history["parameter"], history["gradient"]
    columns = matrices(table)
    if not is_network(history) or not columns.any():
        return None
    rows = np.flatnonzero(sound_rows(history, table) & np.isin(table.steps, gradients.steps))
    at = np.searchsorted(gradients.steps, table.steps[rows])
    norms = gradients.column("gradient_norm")[at][:, columns]
    share = norms / table.column("parameter_norm")[rows][:, columns]
    seen = share[np.isfinite(share) & (share > 0)]
    largest = float(seen.max()) if len(seen) else 0.0
    if not largest > SHARE:
        return None
    jax = (
        f"optimizer = optax.chain(optax.adaptive_grad_clip({SHARE:g}, eps=1e-3), "
        f"optax.{optax_name(history, 'Adam')}(learning_rate))"
    )
    if is_by_hand(history):
        jax = (
            f"clip = optax.adaptive_grad_clip({SHARE:g}, eps=1e-3)\n"
            "grads, _ = clip.update(grads, clip.init(params), params)"
        )
    return Remedy(
        "adaptive-clipping",
        f"clip the gradient of each unit at {SHARE:g} of its weights",
        f"the largest gradient of a layer was {largest:.3g} of its weights, and each layer has a size of its own",
        {
            "torch": (
                "for w in model.parameters():  # between backward() and step()\n"
                "    axes = tuple(range(1, w.ndim))\n"
                f"    limit = {SHARE:g} * w.detach().norm(dim=axes, keepdim=True).clamp_min(1e-3)\n"
                "    w.grad *= (limit / w.grad.norm(dim=axes, keepdim=True)).clamp_max(1)"
            ),
            "tensorflow": (
                "for i, w in enumerate(model.trainable_variables):\n"
                "    axes = list(range(len(w.shape) - 1)) or None\n"
                f"    limit = {SHARE:g} * tf.maximum(tf.norm(w, axis=axes, keepdims=True), 1e-3)\n"
                "    grads[i] *= tf.minimum(1.0, limit / tf.norm(grads[i], axis=axes, keepdims=True))"
            ),
            "jax": jax,
        },
        "Brock et al. (2021) arXiv:2102.06171",
        cost="two norms per unit a step",
        risk="the last layer is best left out; small steps make it slow",
        settings={"limit": SHARE},
    )
