"""GS601 unscaled-input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of, learns
from gradscope.history import History
from gradscope.rule import NotJudged, rule
from gradscope.verdict import Evidence, Role


@rule(
    "GS601",
    explains=(
        "dead-units",
        "saturated-units",
        "gradient-spike",
        "exploding-gradient",
        "oversized-update",
        "vanishing-gradient",
        "stalled-loss",
        "diverging-loss",
        "collapsed-output",
        "noisy-gradient",
        "poor-initialization",
        "slow-convergence",
        "non-finite-loss",
        "zero-gradient",
        "undersized-update",
    ),
)
def unscaled_input(
    history: History,
    *,
    size: float = 30.0,
    ratio: float = 50.0,
    normalizing: int = 1,
    extreme: float = 10.0,
    poor: float = 0.8,
) -> Iterator[Evidence]:
    """Inputs are very large, or their columns are of very different size.

    What it does: the root mean square of the data that enters the first layer, and of its largest feature over the
    median one.

    Why is this bad: the largest column rules the first layer; tanh and sigmoid saturate at once, ReLU units die.

    Thresholds: size, RMS of the data (standardized data: 1, bytes: 100); ratio, largest feature over the median one,
    when the largest is above one; normalizing, whether an input of a normalization layer is left out (0: it is judged
    too). Many networks learn from raw data all the same, so it is reported when the loss does not fall, or when units
    of the first layer are saturated or dead. extreme, the multiple of either bound that is reported of a loss that does
    fall too, where the error stays above `poor` of a constant prediction's.

    Not flagged: token ids, inputs of a normalization layer, raw data that is learnt from.

    References: LeCun et al. (1998) Efficient backprop, section 4.3.
    """
    table = history["input"]
    if not table.subjects:
        raise NotJudged("no data was seen entering a layer")
    progress, fit = learns(history), fit_of(history)
    modules = history["module"]
    for i, s in enumerate(table.subjects):
        if "Norm" in s.traits.get("consumer", "") and normalizing:
            continue
        mean, deviation = (table.column(q)[:, i] for q in ("mean", "deviation"))
        rms = float(np.nanmedian(np.sqrt(mean**2 + deviation**2)))
        spread = table.column("feature_ratio")[:, i]
        uneven = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 1.0
        top = float(np.nanmedian(table.column("abs_max")[:, i]))
        large, unequal = rms > size, uneven > ratio and top > 3
        if not (large or unequal):
            continue
        blocked = 0.0
        for quantity in ("saturated_fraction", "dead_fraction"):
            for k, m in enumerate(modules.subjects):
                known = modules.column(quantity)[:, k]
                if m.module == s.module and np.isfinite(known).any():
                    blocked = max(blocked, float(np.nanmedian(known)))
        far = rms > extreme * size or (unequal and uneven > extreme * ratio)
        hardly = bool(progress and far and fit is not None and fit.closing >= poor)
        if progress and blocked < 0.8 and not hardly:
            continue
        role = Role.HARM if progress is False or blocked >= 0.8 or hardly else Role.CAUSE
        step = int(table.steps[0])
        if large:
            yield Evidence("RMS of the input", rms, ">", size, step, module=s.module, role=role)
        if unequal:
            features = table.column("largest_feature")[:, i]
            known = features[np.isfinite(features)]
            yield Evidence(
                "RMS of the largest feature / of the median one",
                uneven,
                ">",
                ratio,
                step,
                module=s.module,
                role=role,
                detail=f"feature {int(np.median(known))}" if len(known) else "",
            )
        if blocked >= 0.8:
            yield Evidence(
                "share of dead or saturated units behind it", blocked, ">=", 0.8, step, module=s.module, role=role
            )
