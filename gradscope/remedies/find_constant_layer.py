"""find-constant-layer."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("collapsed-output", rank=20)
def find_constant_layer(_verdict: Verdict, history: History) -> Remedy | None:
    """The first module whose outputs are all alike at the end of the run; where outputs have targets."""
    if history["loss"].subjects and all(s.traits.get("target_carries_gradient") for s in history["loss"].subjects):
        return None
    table = history["module"]
    order, varied = table.column("order"), table.column("batch_variation")
    last = slice(-max(3, len(table) // 4), None)
    alike = [
        (float(np.nanmin(order[:, i])), s.name)
        for i, s in enumerate(table.subjects)
        if s.name
        and np.isfinite(order[:, i]).any()
        and np.isfinite(varied[last, i]).any()
        and np.nanmax(varied[last, i]) <= 1e-3
    ]
    where = f": here {min(alike)[1]} is the first" if alike else ""
    return Remedy(
        "find-constant-layer",
        f"find the first layer whose outputs do not depend on the input{where}",
        "behind it only biases are left to learn, which is the best constant",
        {
            "torch": (
                "for name, m in model.named_modules():\n"
                "    m.register_forward_hook(lambda m, i, o, name=name: print(name, o.std(0).mean().item()))"
            ),
            "tensorflow": (
                "for layer in model.layers:\n"
                "    x = layer(x)\n    print(layer.name, float(tf.reduce_mean(tf.math.reduce_std(x, axis=0))))"
            ),
            "jax": (
                "_, seen = model.apply(params, x, capture_intermediates=True, mutable=['intermediates'])  # flax\n"
                "for path, h in jax.tree.leaves_with_path(seen):\n"
                "    print(jax.tree_util.keystr(path), float(h.std(0).mean()))"
            ),
        },
        "Karpathy (2019) A recipe for training neural networks",
        cost="a forward pass with a print per layer",
        risk="none: it only looks",
    )
