"""GS103 gradient-spike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import sound_rows, spikes_of
from gradscope.usual import growth
from gradscope.verdict import Evidence, Role


@rule(
    "GS103",
    explains=(
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

    Thresholds: factor over the median of `wide` steps on either side; heavy-tailed but healthy gradients
    (reinforcement learning, GANs, language models) stay under 30. share, the most steps that can count as single.
    settled, the first steps left out.

    Not flagged: the first steps, a gradient that is large throughout or grows with the loss from step to step, spikes
    of a run that learns all the same.

    References: Chowdhery et al. (2022) PaLM, section 5.1, arXiv:2204.02311.
    """
    steps = int(sound_rows(history, history["gradient"]).sum())
    if steps < 4 * wide:
        raise NotJudged(f"fewer than {4 * wide} sound steps")
    rows, ratios = spikes_of(history, factor=factor, settled=settled, wide=wide)
    if not len(rows) or len(rows) > share * steps or growth(history) is not None:
        return
    loss = np.abs(history.run_at("loss", "gradient")[:steps])
    progress = learns(history)
    harmed = progress is False or bool((loss[rows] >= factor * np.nanmedian(loss)).any())
    if progress and not harmed:
        return
    table = history["gradient"]
    for k in np.argsort(-ratios)[:8]:
        s = table.subjects[int(np.nan_to_num(table.column("gradient_norm")[rows[k]]).argmax())]
        yield Evidence(
            "gradient norm / median of the steps around",
            float(ratios[k]),
            ">=",
            factor,
            int(table.steps[rows[k]]),
            s.name,
            s.module,
            role=Role.HARM if harmed else Role.CAUSE,
        )
