"""cosine-schedule."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import is_by_hand, optax_name
from gradscope.remedy import remedy
from gradscope.trend import loss_trend
from gradscope.verdict import Remedy, Verdict


@remedy("noisy-gradient", "oversized-update", rank=65, usual={"steps": 200})
def cosine_schedule(_verdict: Verdict, history: History) -> Remedy | None:
    """A learning rate that falls to zero as a cosine does; where the loss is noisy."""
    trend = loss_trend(history)
    if trend is None or trend.last == 0 or not trend.noise > 0.05 * abs(trend.last):
        return None
    steps = history.steps
    jax = f"rates = optax.cosine_decay_schedule(learning_rate, {steps})"
    last = "# rate = rates(step)" if is_by_hand(history) else f"optimizer = optax.{optax_name(history, 'Adam')}(rates)"
    return Remedy(
        "cosine-schedule",
        "let the learning rate fall to zero over the run, as a cosine does",
        f"the loss ends with noise of {trend.noise / abs(trend.last):.2g} of it, which steps of a constant length keep",
        {
            "torch": (
                f"schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max={steps})  # all steps of a run"
                "\noptimizer.step()\nschedule.step()"
            ),
            "tensorflow": (
                f"rates = keras.optimizers.schedules.CosineDecay(learning_rate, {steps})  # all steps of a run\n"
                "optimizer = keras.optimizers.Adam(rates)"
            ),
            "jax": f"{jax}  # all steps of a run\n{last}",
        },
        "Loshchilov & Hutter (2017) arXiv:1608.03983",
        cost="none",
        risk="the length of the run must be known; what comes after it has no rate left",
        settings={"steps": steps},
    )
