"""growing-batch."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.trend import batch_size
from gradscope.usual import wanted_batches
from gradscope.verdict import Remedy, Verdict


@remedy("noisy-gradient", rank=30, usual={"accumulate": 8, "every": 50})
def growing_batch(verdict: Verdict, history: History) -> Remedy | None:
    """A batch that doubles until it has the size that the gradient noise asks for at the end."""
    size, count = batch_size(history), wanted_batches(verdict)
    doublings = count.bit_length() - 1
    every = max(1, history.steps // (doublings + 1))
    sizes = tuple(int(size) * 2**k for k in range(doublings + 1))
    shown = f"({', '.join(map(str, sizes))})"
    return Remedy(
        "growing-batch",
        f"double the batch every {every} steps, from {sizes[0]} to {sizes[-1]}",
        f"the noise is {verdict.evidence[0].value:.3g} times what a batch averages away, and grows as the loss falls",
        {
            "torch": (
                f"for size in {shown}:\n"
                "    loader = DataLoader(dataset, batch_size=size, shuffle=True)  # some epochs with each"
            ),
            "tensorflow": f"for size in {shown}:\n    model.fit(x, y, batch_size=size)  # some epochs with each",
            "jax": (
                f"for size in {shown}:\n    batch = jax.random.choice(key, len(x), (size,))  # some epochs with each"
            ),
        },
        "Smith et al. (2018) arXiv:1711.00489",
        cost="more samples a step towards the end",
        risk="sizes that change make a compiled step compile anew",
        settings={"accumulate": count, "every": every},
    )
