"""accumulate-gradients."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import is_by_hand, optax_name
from gradscope.remedy import remedy
from gradscope.trend import batch_size
from gradscope.usual import wanted_batches
from gradscope.verdict import Remedy, Verdict


@remedy("noisy-gradient", rank=20, usual={"accumulate": 4})
def accumulate_gradients(verdict: Verdict, history: History) -> Remedy | None:
    """As many batches for one step as the gradient noise asks for."""
    count = wanted_batches(verdict)
    size = batch_size(history)
    name = "sgd" if is_by_hand(history) else optax_name(history, "Adam")
    return Remedy(
        "accumulate-gradients",
        f"take one step per {count} batches, along the mean of their gradients",
        f"the gradient's noise is {verdict.evidence[0].value:.3g} times what a batch of {size:g} averages away",
        {
            "torch": (
                f"(loss / {count}).backward()\nif (i + 1) % {count} == 0:\n"
                "    optimizer.step()\n    optimizer.zero_grad()"
            ),
            "tensorflow": f"optimizer = keras.optimizers.Adam(gradient_accumulation_steps={count})",
            "jax": f"optimizer = optax.MultiSteps(optax.{name}(learning_rate), every_k_schedule={count})",
        },
        "McCandlish et al. (2018) arXiv:1812.06162",
        cost=f"{count} batches a step, in the memory of one",
        risk="batch normalization still sees the small batches",
        settings={"accumulate": count},
    )
