"""open-output."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("target-out-of-range", rank=10, usual={"output": "linear"})
def open_output(verdict: Verdict, _history: History) -> Remedy | None:
    """An output that can reach the targets."""
    e = verdict.evidence[0]
    reason = f"targets reach {e.value:.4g}, the output activation ends at {e.threshold:g}"
    return Remedy(
        "open-output",
        "drop the output activation, or scale the targets into its range",
        reason,
        {
            "torch": "nn.Linear(hidden, 1)  # no activation after the last layer of a regression",
            "tensorflow": "layers.Dense(1)  # no activation in the last layer of a regression",
            "jax": "nn.Dense(1)  # no activation after the last layer of a regression",
        },
        "Goodfellow et al. (2016) Deep Learning, section 6.2.2",
        cost="none",
        risk="predictions are no longer bounded",
        settings={"output": "linear"},
    )
