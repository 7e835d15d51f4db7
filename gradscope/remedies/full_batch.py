"""full-batch."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.trend import batch_size
from gradscope.verdict import Remedy, Verdict


@remedy("oscillating-loss", "noisy-gradient", rank=60)
def full_batch(_verdict: Verdict, history: History) -> Remedy | None:
    """Gradient descent along all samples; where the size of a batch is known."""
    size = batch_size(history)
    if not size > 0:
        return None
    return Remedy(
        "full-batch",
        "take each step along the gradient of all samples",
        f"{size:g} samples do not stand for all of them here; all of them have no noise",
        {
            "torch": "loader = DataLoader(dataset, batch_size=len(dataset))",
            "tensorflow": "model.fit(x, y, batch_size=len(x))",
            "jax": "loss, grads = jax.value_and_grad(loss_fn)(params, x, y)  # x and y: all samples",
        },
        "Bottou et al. (2018) arXiv:1606.04838, section 3.3",
        cost="a pass over the data for each step, and its memory",
        risk="slow on large data; noise that helped to leave poor minima is gone",
    )
