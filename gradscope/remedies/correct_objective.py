"""correct-objective."""

from __future__ import annotations

import numpy as np

from gradscope.fit import SQUARED, main_site
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import growth
from gradscope.verdict import Remedy, Verdict

IN_OPTAX = {
    "cross_entropy": "optax.softmax_cross_entropy_with_integer_labels",
    "nll_loss": "optax.softmax_cross_entropy_with_integer_labels",
    "binary_cross_entropy_with_logits": "optax.sigmoid_binary_cross_entropy",
    "kl_div": "optax.kl_divergence",
}
"""Losses of torch and what optax calls them."""


@remedy("diverging-loss", rank=5)
def correct_objective(_verdict: Verdict, history: History) -> Remedy | None:
    """A loss that is smallest where the prediction is right.

    None where the loss grows geometrically while gradients turn to and fro, or their direction is not known: then the
    steps are too long.
    """
    cosine = history.run("gradient_cosine")
    aligned = bool(np.isfinite(cosine).any()) and float(np.nanmedian(cosine)) > 0
    if growth(history) is not None and not aligned:
        return None
    torch = "loss = (prediction - target).pow(2).mean()  # bounded below, smallest for a perfect fit"
    keras = "loss = tf.reduce_mean(tf.square(prediction - target))  # bounded below, smallest for a perfect fit"
    jax = "loss = jnp.square(prediction - target).mean()  # bounded below, smallest for a perfect fit"
    reason = "it keeps moving away from a fit: a missing square or absolute value, a wrong sign, or ascent"
    site = main_site(history)
    function = site.traits.get("function", "") if site is not None else ""
    if function and function not in SQUARED:
        reason = "it keeps moving away from a fit: a wrong sign before the loss, or ascent"
        torch = f"loss = F.{function}(output, target)  # as it is: no minus before it, no 1 - loss; no maximize=True"
        keras = "loss = loss_fn(target, output)  # as it is: no minus before it, no 1 - loss"
        name = IN_OPTAX.get(function, "loss_fn")
        jax = f"loss = {name}(output, target).mean()  # as it is: no minus before it; a step is params - rate * grads"
    return Remedy(
        "correct-objective",
        "check the sign and the form of the loss",
        reason,
        {"torch": torch, "tensorflow": keras, "jax": jax},
        "Bishop (2006) section 1.2.5",
        cost="none",
        risk="losses before and after are not comparable",
    )
