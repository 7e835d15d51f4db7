"""repel-outputs."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("collapsed-output", rank=10)
def repel_outputs(_verdict: Verdict, _history: History) -> Remedy | None:
    """A loss that a constant does not satisfy."""
    return Remedy(
        "repel-outputs",
        "add a term that keeps outputs apart",
        "attraction alone is smallest when all outputs are one point; a contrastive or variance term forbids that",
        {
            "torch": (
                "logits = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / 0.2\n"
                "loss = F.cross_entropy(logits, torch.arange(len(z1)))"
            )
        },
        "van den Oord et al. (2018) arXiv:1807.03748; Bardes et al. (2022) arXiv:2105.04906",
    )
