"""smooth-operation."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("zero-gradient", rank=10)
def smooth_operation(verdict: Verdict, _history: History) -> Remedy | None:
    """An operation that has a slope; None where another illness (units that are dead, say) accounts for the zeros."""
    if verdict.consequence_of is not None:
        return None
    return Remedy(
        "smooth-operation",
        "replace the operation without slope (round, sign, argmax, comparison) on the way to the loss",
        "its derivative is zero everywhere, so no gradient passes",
        {
            "torch": "y = soft + (hard - soft).detach()  # straight-through: the slope of the soft ones",
            "tensorflow": "y = soft + tf.stop_gradient(hard - soft)  # straight-through: the slope of the soft ones",
            "jax": "y = soft + jax.lax.stop_gradient(hard - soft)  # straight-through: the slope of the soft ones",
        },
        "Bengio et al. (2013) arXiv:1308.3432",
        cost="none",
        risk="the slope is that of another function: a biased estimate",
    )
