"""warm-up."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.optimizers import is_by_hand, optax_name
from gradscope.remedy import remedy
from gradscope.trend import matrices, sound_rows, update_ratios
from gradscope.verdict import Remedy, Verdict

FEWEST = 10
"""Fewer steps have no beginning."""


@remedy(
    "oversized-update",
    "diverging-loss",
    "gradient-spike",
    "exploding-gradient",
    "dead-units",
    rank=35,
    usual={"steps": 20},
)
def warm_up(_verdict: Verdict, history: History) -> Remedy | None:
    """A learning rate that grows over the first tenth of the run; where the first updates are larger than later ones,
    and the weights move at all."""
    table = history["parameter"]
    columns, rows = matrices(table), sound_rows(history, table)
    ratios = update_ratios(history)[rows][:, columns]
    ratios = ratios[np.isfinite(ratios).any(axis=1)]  # the weights after a step may be unknown
    if len(ratios) < FEWEST:
        return None
    largest = np.nanmax(ratios, axis=1)
    tenth = max(3, len(largest) // 10)
    first, later = float(np.nanmax(largest[:tenth])), float(np.nanmedian(largest[tenth:]))
    if not (first > 0.02 and later > 0 and first > 2 * later):
        return None
    steps = max(10, history.steps // 10)
    jax = f"rates = optax.linear_schedule(0.01 * learning_rate, learning_rate, {steps})"
    last = "# rate = rates(step)" if is_by_hand(history) else f"optimizer = optax.{optax_name(history, 'Adam')}(rates)"
    return Remedy(
        "warm-up",
        f"let the learning rate grow over the first {steps} steps",
        f"the first updates are {first:.2g} of the weights, later ones {later:.2g}",
        {
            "torch": (
                f"warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters={steps})\n"
                "optimizer.step()\nwarm_up.step()  # after each step"
            ),
            "tensorflow": (
                f"rates = keras.optimizers.schedules.PolynomialDecay(0.01 * learning_rate, {steps}, learning_rate)\n"
                "optimizer = keras.optimizers.Adam(rates)"
            ),
            "jax": f"{jax}\n{last}",
        },
        "Goyal et al. (2017) arXiv:1706.02677",
        cost="the steps of the beginning count less",
        risk="none known; a rate that is too high stays so when the warm-up is over",
        settings={"steps": steps},
    )
