"""loss-scaling."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

SCALE = 1024
HALF = frozenset({"float16", "bfloat16"})
MASTER = "model.float()  # a scaler takes no gradients in float16\n"


@remedy(
    "gradient-underflow",
    "vanishing-gradient",
    "zero-gradient",
    "undersized-update",
    "unchanged-parameter",
    "stalled-loss",
    rank=5,
    usual={"scale": SCALE},
)
def loss_scaling(verdict: Verdict, history: History) -> Remedy | None:
    """The loss times a number before the backward pass; where gradients of half precision underflow."""
    if np.isfinite(history.run("loss_scale")).any():
        return None
    reason = why(verdict, history)
    if reason is None:
        return None
    weights = any(s.type == "float16" for s in history["parameter"].subjects)
    return Remedy(
        "loss-scaling",
        f"multiply the loss by {SCALE} before the backward pass, and divide the gradients before the step"
        + (", with the weights in float32" if weights else ""),
        reason,
        {
            "torch": (
                f"{MASTER if weights else ''}scaler = torch.amp.GradScaler(device_type, init_scale={SCALE})\n"
                "with torch.autocast(device_type, dtype=torch.float16):\n    loss = criterion(model(x), y)\n"
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


def why(verdict: Verdict, history: History) -> str | None:
    """What of the gradient is lost, in words; None when too little is."""
    table = history["parameter"]
    half = np.array([s.type in HALF for s in table.subjects], bool)
    passed = bool(history.facts.get("half"))
    lost = table.column("gradient_underflow_fraction")
    lost = lost if passed or verdict.name == "gradient-underflow" else lost[:, half]
    seen = lost[np.isfinite(lost)]
    if len(seen) and float(seen.mean()) >= 0.1:
        return f"{float(seen.mean()):.0%} of the entries of the gradients lie under the smallest normal number"
    norms = history["gradient"].column("gradient_norm")
    zero = (norms >= 0).any() and not (norms > 0).any()
    if verdict.name == "zero-gradient" and zero and (passed or half.any()):
        return "every gradient is zero where it arrives, and on its way it is in float16, which ends at 6e-8"
    return None
