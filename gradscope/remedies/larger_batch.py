"""larger-batch."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.trend import batch_size
from gradscope.usual import wanted_batches
from gradscope.verdict import Remedy, Verdict


@remedy("noisy-gradient", rank=10, usual={"accumulate": 4})
def larger_batch(verdict: Verdict, history: History) -> Remedy | None:
    """A batch of the size that the gradient noise asks for."""
    size, count = batch_size(history), wanted_batches(verdict)
    wanted = int(size * count)
    reason = f"the gradient's noise is {verdict.evidence[0].value:.3g} times what a batch of {size:g} averages away"
    return Remedy(
        "larger-batch",
        f"use batches of {wanted}",
        reason,
        {
            "torch": f"loader = DataLoader(dataset, batch_size={wanted}, shuffle=True)",
            "tensorflow": f"model.fit(x, y, batch_size={wanted})",
            "jax": f"batch = jax.random.permutation(key, len(x))[:{wanted}]\nx, y = x[batch], y[batch]",
        },
        "McCandlish et al. (2018) arXiv:1812.06162",
        cost=f"{count} times the memory and the samples a step",
        risk="fewer steps in an epoch: the learning rate may go up with the batch",
        settings={"batch_size": wanted, "accumulate": count},
    )
