"""correct-output."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

GENERAL = (
    "the loss applies an activation itself, or expects another one",
    "nn.CrossEntropyLoss()(logits, target)  # raw scores",
    "keras.losses.SparseCategoricalCrossentropy(from_logits=True)(target, logits)  # raw scores",
)
CORRECTIONS = {
    "into cross_entropy": (
        "cross_entropy applies softmax itself",
        "return self.output(h)  # raw scores, no {}",
        "layers.Dense(classes)  # raw scores, no {}\nkeras.losses.SparseCategoricalCrossentropy(from_logits=True)",
    ),
    "into binary_cross_entropy_with_logits": (
        "the loss applies sigmoid itself",
        "return self.output(h)  # raw scores, no {}",
        "layers.Dense(1)  # raw scores, no {}\nkeras.losses.BinaryCrossentropy(from_logits=True)",
    ),
    "into nll_loss": (
        "nll_loss expects log-probabilities",
        "return F.log_softmax(scores, dim=1)  # or CrossEntropyLoss on raw scores",
        GENERAL[2],
    ),
    "into kl_div": (
        "kl_div expects log-probabilities as its input",
        "F.kl_div(F.log_softmax(scores, dim=1), target, reduction='batchmean')",
        "keras.losses.KLDivergence()(target, tf.nn.softmax(scores))  # Keras takes the logarithm itself",
    ),
}


@remedy("output-loss-mismatch", rank=10)
def correct_output(verdict: Verdict, _history: History) -> Remedy | None:
    """Give each loss what it expects."""
    e = verdict.evidence[0]
    known = CORRECTIONS.get(next((k for k in CORRECTIONS if e.detail.endswith(k)), ""), GENERAL)
    activation = e.detail.partition(" ")[0]
    activation = activation if activation in {"relu", "tanh", "sigmoid", "softmax"} else "activation"
    reason, torch, keras = known[0], known[1].replace("{}", activation), known[2].replace("{}", activation)
    if e.quantity.startswith("scores pass"):
        reason = f"a {activation} cuts off scores that the loss needs, and passes no gradient where it does"
    if e.quantity.startswith("classes of"):
        reason = "cross-entropy over one class is zero for every input"
        torch = "nn.BCEWithLogitsLoss()(scores.squeeze(1), target.float())  # one score a sample"
        keras = "keras.losses.BinaryCrossentropy(from_logits=True)  # one score a sample"
    if e.quantity.startswith("labels per sample"):
        reason = "several labels of a sample can be true at once, but a softmax sums to one"
        torch = "nn.BCEWithLogitsLoss()(scores, target)  # no softmax: each label for itself"
        keras = "keras.losses.BinaryCrossentropy(from_logits=True)  # no softmax: each label for itself"
    if e.quantity.startswith("units under the softmax"):
        reason = "softmax over a single unit is 1 for every input"
        torch = "nn.Sigmoid()  # with BCELoss; or no activation with BCEWithLogitsLoss"
        keras = 'layers.Dense(1, activation="sigmoid")  # with loss="binary_crossentropy"'
    if "over the batch" in e.quantity:
        reason = "it makes the samples of a batch compete, not the classes"
        torch, keras = "F.softmax(scores, dim=1)", "tf.nn.softmax(scores, axis=-1)"
    return Remedy(
        "correct-output",
        "hand the loss what it expects",
        reason,
        {"torch": torch, "tensorflow": keras},
        'torch.nn.CrossEntropyLoss and BCEWithLogitsLoss: "input is expected to contain the unnormalized logits"',
    )
