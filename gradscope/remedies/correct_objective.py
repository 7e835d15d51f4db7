"""correct-objective."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.trend import SQUARED, main_site
from gradscope.usual import growth
from gradscope.verdict import Remedy, Verdict


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
    reason = "it keeps moving away from a fit: a missing square or absolute value, a wrong sign, or ascent"
    site = main_site(history)
    function = site.traits.get("function", "") if site is not None else ""
    if function and function not in SQUARED:
        reason = "it keeps moving away from a fit: a wrong sign before the loss, or ascent (maximize=True)"
        torch = f"loss = F.{function}(output, target)  # as it is: no minus before it, no 1 - loss"
        keras = "loss = loss_fn(target, output)  # as it is: no minus before it, no 1 - loss"
    return Remedy(
        "correct-objective",
        "check the sign and the form of the loss",
        reason,
        {"torch": torch, "tensorflow": keras},
        "Bishop (2006) section 1.2.5",
    )
