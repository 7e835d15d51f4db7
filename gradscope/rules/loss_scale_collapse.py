"""GS702 loss-scale-collapse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role


@rule(
    "GS702",
    explains=("non-finite-gradient", "non-finite-loss", "unchanged-parameter", "stalled-loss", "undersized-update"),
)
def loss_scale_collapse(
    history: History, *, share: float = 0.5, halvings: float = 10.0, fewest: int = 20
) -> Iterator[Evidence]:
    """The loss scaler keeps halving and never finds a scale that does not overflow.

    What it does: counts the steps that a loss scaler skipped, and how far the scale has fallen.

    Why is this bad: skipped steps do not train; at a scale near zero small gradients vanish altogether.

    Thresholds: share of skipped steps of the second half; halvings from the largest scale; fewest, steps seen.

    Not flagged: the first skipped steps from a high starting scale, an occasional skip later.

    References: Micikevicius et al. (2018) arXiv:1710.03740.
    """
    skipped, scale = history.run("skipped"), history.run("loss_scale")
    if not np.isfinite(scale).any() or len(skipped) < fewest:
        return
    late = float(skipped[len(skipped) // 2 :].mean())
    known = scale[np.isfinite(scale)]
    fallen = float(np.log2(known.max() / max(known[-1], 1e-30)))
    if late >= share and fallen >= halvings:
        step = int(history["step"].steps[int(np.argmax(skipped))])
        yield Evidence("share of skipped steps in the second half", late, ">=", share, step, role=Role.HARM)
        yield Evidence("halvings of the loss scale", fallen, ">=", halvings, step, role=Role.HARM)
