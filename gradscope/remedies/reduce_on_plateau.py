"""reduce-on-plateau."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import is_by_hand, optax_name
from gradscope.remedy import remedy
from gradscope.trend import loss_trend
from gradscope.verdict import Remedy, Verdict

FACTOR, PATIENCE = 0.5, 3


@remedy("noisy-gradient", "oversized-update", rank=60, usual={"factor": FACTOR, "patience": PATIENCE})
def reduce_on_plateau(_verdict: Verdict, history: History) -> Remedy | None:
    """Half of the learning rate each time the loss stands still; where it is noisy."""
    trend = loss_trend(history)
    if trend is None or trend.last == 0 or not trend.noise > 0.05 * abs(trend.last):
        return None
    name = "sgd" if is_by_hand(history) else optax_name(history, "Adam")
    return Remedy(
        "reduce-on-plateau",
        "halve the learning rate each time the loss stands still",
        f"the loss ends at {trend.last:.3g}, with noise of {trend.noise / abs(trend.last):.2g} of it: shorter steps "
        "average that away",
        {
            "torch": (
                "schedule = torch.optim.lr_scheduler.ReduceLROnPlateau"
                f"(optimizer, factor={FACTOR:g}, patience={PATIENCE})\n"
                "schedule.step(loss)  # after each epoch"
            ),
            "tensorflow": (
                f'calm = keras.callbacks.ReduceLROnPlateau("loss", factor={FACTOR:g}, patience={PATIENCE})\n'
                "model.fit(x, y, callbacks=[calm])"
            ),
            "jax": (
                f"calm = optax.contrib.reduce_on_plateau(factor={FACTOR:g}, patience={PATIENCE})\n"
                f"optimizer = optax.chain(optax.{name}(learning_rate), calm)  # update(..., value=loss)"
            ),
        },
        "Bengio (2012) arXiv:1206.5533, section 3.1.1",
        cost="more steps",
        risk="a loss that stands still for another reason is frozen there",
        settings={"factor": FACTOR, "patience": PATIENCE},
    )
