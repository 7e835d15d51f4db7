"""correct-output."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

GENERAL = (
    "the loss applies an activation itself, or expects another one",
    "nn.CrossEntropyLoss()(logits, target)  # raw scores",
)
CORRECTIONS = {
    "into cross_entropy": ("cross_entropy applies softmax itself", "return self.output(h)  # raw scores, no softmax"),
    "into binary_cross_entropy_with_logits": (
        "the loss applies sigmoid itself",
        "return self.output(h)  # raw scores, no sigmoid",
    ),
    "into nll_loss": (
        "nll_loss expects log-probabilities",
        "return F.log_softmax(scores, dim=1)  # or CrossEntropyLoss on raw scores",
    ),
    "into kl_div": (
        "kl_div expects log-probabilities as its input",
        "F.kl_div(F.log_softmax(scores, dim=1), target, reduction='batchmean')",
    ),
}


@remedy("output-loss-mismatch", rank=10)
def correct_output(verdict: Verdict, _history: History) -> Remedy | None:
    """Give each loss what it expects."""
    e = verdict.evidence[0]
    reason, code = CORRECTIONS.get(next((k for k in CORRECTIONS if e.detail.endswith(k)), ""), GENERAL)
    if e.quantity.startswith("units under the softmax"):
        reason, code = (
            "softmax over a single unit is 1 for every input",
            "nn.Sigmoid()  # with BCELoss; or no activation with BCEWithLogitsLoss",
        )
    if "over the batch" in e.quantity:
        reason, code = "it makes the samples of a batch compete, not the classes", "F.softmax(scores, dim=1)"
    return Remedy(
        "correct-output",
        "hand the loss what it expects",
        reason,
        {"torch": code},
        'torch.nn.CrossEntropyLoss and BCEWithLogitsLoss: "input is expected to contain the unnormalized logits"',
    )
