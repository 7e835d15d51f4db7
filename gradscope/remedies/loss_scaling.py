"""loss-scaling."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

SCALE = 1024
HALF = frozenset({"float16", "bfloat16"})


@remedy(
    "vanishing-gradient",
    "zero-gradient",
    "undersized-update",
    "unchanged-parameter",
    "stalled-loss",
    rank=5,
    usual={"scale": SCALE},
)
def loss_scaling(_verdict: Verdict, history: History) -> Remedy | None:
    """The loss times a number before the backward pass; where gradients of half precision underflow."""
    table = history["parameter"]
    half = np.array([s.type in HALF for s in table.subjects], bool)
    lost = table.column("gradient_underflow_fraction")[:, half]
    seen = lost[np.isfinite(lost)]
    scaled = np.isfinite(history.run("loss_scale")).any()
    if scaled or not len(seen) or float(seen.mean()) < 0.1:
        return None
    return Remedy(
        "loss-scaling",
        f"multiply the loss by {SCALE} before the backward pass, and divide the gradients before the step",
        f"{float(seen.mean()):.0%} of the entries of gradients in half precision lie under its smallest normal number",
        {
            "torch": (
                f"scaler = torch.amp.GradScaler(device_type, init_scale={SCALE})\n"
                "scaler.scale(loss).backward()\nscaler.step(optimizer)\nscaler.update()"
            ),
            "tensorflow": f"optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale={SCALE})",
            "jax": (
                f"scale = {SCALE}\n"
                "grads = jax.grad(lambda *given: scale * loss_fn(*given))(params, x, y)\n"
                "grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)"
            ),
        },
        "Micikevicius et al. (2018) arXiv:1710.03740",
        cost="one product per gradient",
        risk="too large a scale overflows: a scale that adapts skips such steps",
        settings={"scale": SCALE},
    )
