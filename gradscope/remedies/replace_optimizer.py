"""replace-optimizer."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.optimizers import is_plain
from gradscope.remedy import remedy
from gradscope.trend import matrices, sound_rows, update_ratios
from gradscope.verdict import Remedy, Verdict

RATE = 1e-3


@remedy(
    "vanishing-gradient", "undersized-update", "slow-convergence", rank=55, usual={"optimizer": "Adam", "rate": RATE}
)
def replace_optimizer(_verdict: Verdict, history: History) -> Remedy | None:
    """Adam, where plain gradient descent moves some layers far less than others."""
    if not is_plain(history):
        return None
    table = history["parameter"]
    columns, rows = matrices(table), sound_rows(history, table)
    ratios = update_ratios(history)[rows][:, columns]
    usual = np.nanmedian(ratios, axis=0) if ratios.size else np.empty(0)
    seen = usual[np.isfinite(usual) & (usual > 0)]
    if not len(seen):
        return None
    uneven = seen.max() / seen.min()
    reason = f"the largest update of a layer is {seen.max():.2g} of its weights"
    if uneven > 10:
        reason = f"in a step one layer moves {uneven:.3g} times as far as another"
    return Remedy(
        "replace-optimizer",
        "replace gradient descent by Adam",
        f"{reason}; Adam divides by the size of each gradient",
        {
            "torch": f"optimizer = torch.optim.Adam(model.parameters(), lr={RATE:g})",
            "tensorflow": f"optimizer = keras.optimizers.Adam(learning_rate={RATE:g})",
            "jax": f"optimizer = optax.adam({RATE:g})",
        },
        "Kingma & Ba (2015) arXiv:1412.6980",
        cost="two numbers of memory per parameter",
        risk="noise in a gradient that is tiny is made large too; it can generalize less well",
        settings={"optimizer": "Adam", "rate": RATE},
    )
