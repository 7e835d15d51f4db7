"""check-labels."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("stalled-loss", rank=10)
def check_labels(_verdict: Verdict, _history: History) -> Remedy | None:
    """Inputs and labels that belong together."""
    return Remedy(
        "check-labels",
        "check that inputs and labels belong together, and that a tiny subset can be learnt by heart",
        "a loss that stays at that of a constant prediction means that the inputs tell nothing about the targets",
        {
            "torch": (
                "x, y = x[:20], y[:20]  # train on these alone: the loss must go to zero\n"
                "order = torch.randperm(len(x)); x, y = x[order], y[order]  # one permutation for both"
            ),
            "tensorflow": (
                "model.fit(x[:20], y[:20], epochs=500)  # the loss must go to zero\n"
                "order = np.random.permutation(len(x)); x, y = x[order], y[order]  # one permutation for both"
            ),
            "jax": (
                "x, y = x[:20], y[:20]  # train on these alone: the loss must go to zero\n"
                "order = jax.random.permutation(key, len(x)); x, y = x[order], y[order]  # one permutation for both"
            ),
        },
        "Karpathy (2019) A recipe for training neural networks",
        cost="a short training on a few samples",
        risk="none: nothing of the training itself is changed",
    )
