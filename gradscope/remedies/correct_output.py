"""correct-output."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Evidence, Remedy, Verdict

FRAMEWORKS = ("torch", "tensorflow", "jax")
GENERAL = (
    "the loss applies an activation itself, or expects another one",
    "nn.CrossEntropyLoss()(logits, target)  # raw scores",
    "keras.losses.SparseCategoricalCrossentropy(from_logits=True)(target, logits)  # raw scores",
    "optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()  # raw scores",
)
"""The reason, and the code for each framework."""
CORRECTIONS = {
    "into cross_entropy": (
        "the cross-entropy applies softmax itself",
        "return self.output(h)  # raw scores, no {}",
        "layers.Dense(classes)  # raw scores, no {}\nkeras.losses.SparseCategoricalCrossentropy(from_logits=True)",
        "scores = nn.Dense(classes)(h)  # raw scores, no {}\n"
        "loss = optax.softmax_cross_entropy_with_integer_labels(scores, target).mean()",
    ),
    "into binary_cross_entropy_with_logits": (
        "the loss applies sigmoid itself",
        "return self.output(h)  # raw scores, no {}",
        "layers.Dense(1)  # raw scores, no {}\nkeras.losses.BinaryCrossentropy(from_logits=True)",
        "scores = nn.Dense(1)(h).squeeze(1)  # raw scores, no {}\n"
        "loss = optax.sigmoid_binary_cross_entropy(scores, target).mean()",
    ),
    "into binary_cross_entropy": (
        "the loss expects probabilities",
        "nn.BCEWithLogitsLoss()(scores, target)  # raw scores; or nn.BCELoss()(torch.sigmoid(scores), target)",
        "keras.losses.BinaryCrossentropy(from_logits=True)(target, scores)  # raw scores",
        "loss = optax.sigmoid_binary_cross_entropy(scores, target).mean()  # raw scores",
    ),
    "into nll_loss": (
        "the loss expects log-probabilities",
        "return F.log_softmax(scores, dim=1)  # or CrossEntropyLoss on raw scores",
        GENERAL[2],
        GENERAL[3],
    ),
    "into kl_div": (
        "the loss expects log-probabilities as its input",
        "F.kl_div(F.log_softmax(scores, dim=1), target, reduction='batchmean')",
        "keras.losses.KLDivergence()(target, tf.nn.softmax(scores))  # Keras takes the logarithm itself",
        "loss = optax.kl_divergence(jax.nn.log_softmax(scores), target).mean()",
    ),
}
"""Loss, as the end of what the rule says of it -> what is put right."""
EXCEPTIONS = {
    "classes of": (
        "cross-entropy over one class is zero for every input",
        "nn.BCEWithLogitsLoss()(scores.squeeze(1), target.float())  # one score a sample",
        "keras.losses.BinaryCrossentropy(from_logits=True)  # one score a sample",
        "loss = optax.sigmoid_binary_cross_entropy(scores.squeeze(1), target).mean()  # one score a sample",
    ),
    "labels per sample": (
        "several labels of a sample can be true at once, but a softmax sums to one",
        "nn.BCEWithLogitsLoss()(scores, target)  # no softmax: each label for itself",
        "keras.losses.BinaryCrossentropy(from_logits=True)  # no softmax: each label for itself",
        "loss = optax.sigmoid_binary_cross_entropy(scores, target).mean()  # no softmax: each label for itself",
    ),
    "units under the softmax": (
        "softmax over a single unit is 1 for every input",
        "nn.Sigmoid()  # with BCELoss; or no activation with BCEWithLogitsLoss",
        'layers.Dense(1, activation="sigmoid")  # with loss="binary_crossentropy"',
        "loss = optax.sigmoid_binary_cross_entropy(scores.squeeze(1), target).mean()  # no softmax before it",
    ),
    "softmax runs over the batch": (
        "it makes the samples of a batch compete, not the classes",
        "F.softmax(scores, dim=1)",
        "tf.nn.softmax(scores, axis=-1)",
        "jax.nn.softmax(scores, axis=-1)",
    ),
}
"""Quantity, as the rule's evidence begins -> what is put right, whatever the loss."""


OUTPUTS = {
    "into binary_cross_entropy": "sigmoid",
    "into categorical_cross_entropy": "softmax",
    "into nll_loss": "log_softmax",
    "into kl_div": "log_softmax",
}
"""Loss -> what the model should end in; scores where the loss applies the activation itself."""
OUTPUTS_WHATEVER_THE_LOSS = {"labels per sample": "sigmoid", "units under the softmax": "sigmoid"}


def settings_of(e: Evidence) -> dict[str, str]:
    """What the model should end in, and the loss where that is another one too."""
    if e.quantity.startswith("classes of"):
        return {"output": "linear", "loss": "binary_cross_entropy_with_logits"}
    if e.quantity.startswith("softmax runs over the batch"):
        return {"output": "log_softmax" if e.detail.startswith("log") else "softmax"}
    output = next((v for k, v in OUTPUTS.items() if e.detail.endswith(k)), "linear")
    return {"output": next((v for k, v in OUTPUTS_WHATEVER_THE_LOSS.items() if e.quantity.startswith(k)), output)}


@remedy("output-loss-mismatch", rank=10, usual={"output": "linear"})
def correct_output(verdict: Verdict, _history: History) -> Remedy | None:
    """Give each loss what it expects."""
    e = verdict.evidence[0]
    known = next((v for k, v in CORRECTIONS.items() if e.detail.endswith(k)), GENERAL)
    known = next((v for k, v in EXCEPTIONS.items() if e.quantity.startswith(k)), known)
    activation = e.detail.partition(" ")[0]
    activation = activation if activation in {"relu", "tanh", "sigmoid", "softmax"} else "activation"
    reason, *codes = known
    if e.quantity.startswith("scores pass"):
        reason = f"a {activation} cuts off scores that the loss needs, and passes no gradient where it does"
    return Remedy(
        "correct-output",
        "hand the loss what it expects",
        reason,
        {f: c.replace("{}", activation) for f, c in zip(FRAMEWORKS, codes, strict=True)},
        'torch.nn.CrossEntropyLoss and BCEWithLogitsLoss: "input is expected to contain the unnormalized logits"',
        cost="none",
        risk="predictions must apply the activation that the loss now holds",
        settings=settings_of(e),
    )
