"""clip-gradient-value."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.optimizers import is_by_hand, optax_name
from gradscope.remedy import remedy
from gradscope.trend import sound_rows
from gradscope.usual import rounded
from gradscope.verdict import Remedy, Verdict

FEWEST = 5
"""From fewer steps no usual value is drawn."""


@remedy("exploding-gradient", "gradient-spike", rank=55, usual={"max_value": 0.5})
def clip_gradient_value(_verdict: Verdict, history: History) -> Remedy | None:
    """Clipping entry by entry at twice the largest that is usual in the sound part of this run."""
    table = history["parameter"]
    sizes = table.column("gradient_abs_max")[sound_rows(history, table)]
    largest = np.nanmax(sizes, axis=1) if sizes.size else np.empty(0)
    seen = largest[np.isfinite(largest) & (largest > 0)]
    if len(seen) < FEWEST:
        return None
    usual = float(np.median(seen))
    limit = rounded(2 * usual)
    jax = f"optimizer = optax.chain(optax.clip({limit:g}), optax.{optax_name(history, 'Adam')}(learning_rate))"
    if is_by_hand(history):
        jax = f"grads = jax.tree.map(lambda g: jnp.clip(g, min=-{limit:g}, max={limit:g}), grads)"
    return Remedy(
        "clip-gradient-value",
        f"clip each entry of the gradient at {limit:g}",
        f"the largest entry of a gradient is {usual:.3g} in the median of the sound part of this run",
        {
            "torch": (
                f"torch.nn.utils.clip_grad_value_(model.parameters(), clip_value={limit:g})  # between backward() "
                "and step()"
            ),
            "tensorflow": f"optimizer = keras.optimizers.Adam(clipvalue={limit:g})",
            "jax": jax,
        },
        "Mikolov (2012) Statistical language models based on neural networks, section 3.2.2",
        cost="one comparison per entry",
        risk="it turns the gradient: clipping by norm keeps the direction",
        settings={"max_value": limit},
    )
