"""larger-batch."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.trend import batch_size
from gradscope.verdict import Remedy, Verdict


@remedy("noisy-gradient", rank=10)
def larger_batch(verdict: Verdict, history: History) -> Remedy | None:
    """A batch of the size that the gradient noise asks for."""
    size = batch_size(history)
    reason = f"the gradient's noise is {verdict.evidence[0].value:.3g} times what a batch of {size:g} averages away"
    wanted = int(max(32, min(1024, size * 32)))
    code = {
        "torch": f"loader = DataLoader(dataset, batch_size={wanted}, shuffle=True)",
        "tensorflow": f"model.fit(x, y, batch_size={wanted})  # or an optimizer with gradient_accumulation_steps=...",
        "jax": (
            f"batch = jax.random.choice(key, len(x), ({wanted},), replace=False)\n"
            "# or optimizer = optax.MultiSteps(optimizer, every_k_schedule=...)"
        ),
    }
    return Remedy(
        "larger-batch",
        "use larger batches, or accumulate gradients",
        reason,
        code,
        "McCandlish et al. (2018) arXiv:1812.06162",
    )
