"""clip-gradient-norm."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import clipping_line
from gradscope.remedy import remedy
from gradscope.usual import rounded, sound_gradient
from gradscope.verdict import Remedy, Verdict


@remedy("exploding-gradient", "gradient-spike", "non-finite-gradient", rank=20, usual={"max_norm": 1.0})
def clip_gradient_norm(verdict: Verdict, history: History) -> Remedy | None:
    """Clipping by global norm at twice what the sound part of this run shows; None when there is no such part, and
    where an operation made what is not finite, of which clipping would make NaN everywhere."""
    if verdict.origin is not None and "overflow" not in verdict.origin.reason:
        return None
    usual = sound_gradient(history)
    if usual is None:
        return None
    limit = rounded(2 * usual)
    return Remedy(
        "clip-gradient-norm",
        f"clip the gradient at a global norm of {limit:g}",
        f"the median gradient norm of the sound part of this run is {usual:.3g}; twice that or so cuts outliers",
        {
            "torch": (
                f"torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm={limit:g})  # between backward() "
                "and step()"
            ),
            "tensorflow": f"optimizer = keras.optimizers.Adam(global_clipnorm={limit:g})",
            "jax": clipping_line(history, f"{limit:g}"),
        },
        "Pascanu et al. (2013) arXiv:1211.5063",
        cost="one norm of all gradients a step",
        risk="a limit below the usual gradient shortens every step",
        settings={"max_norm": limit},
    )
