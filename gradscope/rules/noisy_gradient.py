"""GS501 noisy-gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.trend import batch_size, loss_trend
from gradscope.verdict import Evidence, Role


@rule("GS501", explains=("slow-convergence", "stalled-loss", "dead-units", "oversized-update"))
def noisy_gradient(
    history: History, *, scale: float = 20.0, batch: float = 16, noise: float = 0.3
) -> Iterator[Evidence]:
    """The gradient is mostly noise: the batch is far too small for it.

    What it does: the simple noise scale, tr(Sigma) / |G|^2, from the cosine c between gradients of consecutive batches
    of B samples: B (1 - c) / c.

    Why is this bad: the steps are a random walk; they cancel instead of adding up.

    Thresholds: scale, noise scale over batch size; batch, the size up to which the batch can be the reason; noise,
    deviation of the loss over its mean. Reported when the loss does not fall: near the end of every training the noise
    wins.

    Not flagged: small batches that learn, large batches, loss of progress with a steady loss.

    References: McCandlish et al. (2018) An empirical model of large-batch training, arXiv:1812.06162.
    """
    size = batch_size(history)
    cosine = history.run("gradient_cosine")
    seen = cosine[np.isfinite(cosine)]
    trend = loss_trend(history)
    if not np.isfinite(size) or len(seen) < 20:
        raise NotJudged("the batch size or the direction of gradients is unknown")
    if trend is None:
        raise NotJudged("the loss is unknown")
    if learns(history) is not False or size > batch:
        return
    mean = float(seen.mean())
    ratio = (1 - mean) / max(mean, 1e-3)
    if ratio >= scale and trend.noise >= noise * abs(trend.last):
        yield Evidence(
            "gradient noise scale / batch size", ratio, ">=", scale, None, role=Role.HARM, detail=f"batch size {size:g}"
        )
