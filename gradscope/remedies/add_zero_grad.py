"""add-zero-grad."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import step_lines
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("stale-gradient", rank=10)
def add_zero_grad(_verdict: Verdict, history: History) -> Remedy | None:
    """Clear the gradients once per step."""
    return Remedy(
        "add-zero-grad",
        "clear the gradients before each backward pass",
        "gradients of earlier steps are added to those of this one until they are cleared",
        {
            "torch": "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
            "tensorflow": (
                "with tf.GradientTape() as tape:  # a new tape for each step\n"
                "    loss = loss_fn(y, model(x, training=True))\n"
                "grads = tape.gradient(loss, model.trainable_variables)\n"
                "optimizer.apply_gradients(zip(grads, model.trainable_variables))"
            ),
            "jax": (
                "loss, grads = jax.value_and_grad(loss_fn)(params, x, y)  # fresh: nothing is added to them\n"
                f"{step_lines(history)}"
            ),
        },
        "torch.optim.Optimizer.zero_grad",
        cost="none",
        risk="where gradients are accumulated on purpose, clear them once per step only",
    )
