"""stop-before-poison."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import skipping_line
from gradscope.remedy import remedy
from gradscope.usual import broke_alone
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-parameter", rank=10)
def stop_before_poison(_verdict: Verdict, history: History) -> Remedy | None:
    """Skip a step whose gradient is not finite; None where the weights broke before any gradient did."""
    if broke_alone(history):
        return None
    return Remedy(
        "stop-before-poison",
        "skip the step when a gradient is not finite, and find where it was born",
        "after one such step every weight it touched is NaN",
        {
            "torch": (
                "norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)\nif torch.isfinite(norm):\n"
                "    optimizer.step()"
            ),
            "tensorflow": (
                "if tf.math.is_finite(tf.linalg.global_norm(grads)):\n"
                "    optimizer.apply_gradients(zip(grads, model.trainable_variables))"
            ),
            "jax": (
                f"{skipping_line(history)}\njax.config.update('jax_debug_nans', True)  # to find where it was born"
            ),
        },
        "Micikevicius et al. (2018) arXiv:1710.03740",
        cost="one norm of all gradients a step",
        risk="it hides the origin, which stays in the program",
    )
