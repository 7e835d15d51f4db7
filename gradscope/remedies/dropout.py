"""dropout."""

from __future__ import annotations

from gradscope.gap import gap_reason
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

PROBABILITY = 0.1


@remedy(rank=80, usual={"probability": PROBABILITY})
def dropout(_verdict: Verdict | None, history: History) -> Remedy | None:
    """Units left out at random. Answers to no rule: what it does shows on held-out data."""
    return Remedy(
        "dropout",
        f"drop a unit with probability {PROBABILITY:g} while it trains",
        gap_reason(history, "no unit can then rely on another one to correct it"),
        {
            "torch": f"nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout({PROBABILITY:g}))",
            "tensorflow": f"layers.Dropout({PROBABILITY:g})  # after the activation",
            "jax": f"h = nn.Dropout({PROBABILITY:g}, deterministic=not train)(h)  # after the activation",
        },
        "Srivastava et al. (2014) Dropout: a simple way to prevent neural networks from overfitting",
        cost="more steps to the same loss",
        risk="a network that underfits gets worse; evaluation must switch it off",
        settings={"probability": PROBABILITY},
    )
