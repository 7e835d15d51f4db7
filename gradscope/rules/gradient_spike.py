"""GS103 gradient-spike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import learns, sound_rows, total_gradient
from gradscope.verdict import Evidence, Role


@rule(
    "GS103",
    explains=(
        "oscillating-loss",
        "diverging-loss",
        "dead-units",
        "oversized-update",
        "stalled-loss",
        "collapsed-output",
        "slow-convergence",
        "non-finite-loss",
    ),
)
def gradient_spike(
    history: History, *, factor: float = 100.0, share: float = 0.1, settled: int = 5, wide: int = 10
) -> Iterator[Evidence]:
    """Single steps have a gradient far above their neighbours'.

    What it does: divides the gradient norm of each step (before clipping) by the median of the steps around it.

    Why is this bad: such a step comes from a few samples (a sensor glitch, a wrong unit, a broken label) and throws the
    weights away each time they are drawn.

    Thresholds: factor over the median of `wide` steps on either side; heavy-tailed but healthy gradients (reinforcement
    learning, GANs, language models) stay under 30. share, the most steps that can count as single. settled, the first steps
    left out.

    Not flagged: the first steps, a gradient that is large throughout, spikes of a run that learns all the same.

    References: Chowdhery et al. (2022) PaLM, section 5.1, arXiv:2204.02311.
    """
    total = total_gradient(history)
    rows = sound_rows(history, history["gradient"])
    total = total[rows & np.isfinite(total)]
    if len(total) < 4 * wide:
        raise NotJudged(f"fewer than {4 * wide} steps")
    middles = np.array([np.median(total[max(0, i - wide) : i + wide + 1]) for i in range(len(total))])
    ratio = np.divide(total, middles, out=np.zeros_like(total), where=middles > 0)
    ratio[:settled] = 0
    spikes = np.flatnonzero(ratio >= factor)
    if not len(spikes) or len(spikes) > share * len(total):
        return
    loss = history.run("loss")[: len(total)]
    loss_ratio = np.abs(loss[spikes]) / max(float(np.nanmedian(np.abs(loss))), 1e-300)
    harmed = learns(history) is False or bool((loss_ratio >= factor).any())
    if not harmed and learns(history):
        return
    norms = history["gradient"].column("gradient_norm")
    for row in spikes[np.argsort(-ratio[spikes])][:8]:
        s = history["gradient"].subjects[int(np.nan_to_num(norms[row]).argmax())]
        step = int(history["gradient"].steps[row])
        role = Role.HARM if harmed else Role.CAUSE
        yield Evidence(
            "gradient norm / median of the steps around",
            float(ratio[row]),
            ">=",
            factor,
            step,
            s.name,
            s.module,
            role=role,
        )
