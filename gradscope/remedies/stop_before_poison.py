"""stop-before-poison."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-parameter", rank=10)
def stop_before_poison(_verdict: Verdict, _history: History) -> Remedy | None:
    """Skip a step whose gradient is not finite."""
    return Remedy(
        "stop-before-poison",
        "skip the step when a gradient is not finite, and find where it was born",
        "after one such step every weight it touched is NaN",
        {
            "torch": (
                "norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)\nif torch.isfinite(norm):\n"
                "    optimizer.step()"
            )
        },
        "Micikevicius et al. (2018) arXiv:1710.03740",
    )
