"""GS603 output-loss-mismatch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import fit_of, learns
from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role

PROBABILITIES = frozenset({"categorical_cross_entropy", "binary_cross_entropy"})
"""Losses that expect what a softmax or a sigmoid returns."""


@rule(
    "GS603",
    explains=(
        "collapsed-output",
        "saturated-units",
        "stalled-loss",
        "vanishing-gradient",
        "zero-gradient",
        "unchanged-parameter",
        "slow-convergence",
        "target-out-of-range",
        "diverging-loss",
        "undersized-update",
        "dead-units",
        "gradient-spike",
        "oscillating-loss",
    ),
)
def output_loss_mismatch(
    history: History, *, poor: float = 0.5, share: float = 0.9, tolerance: float = 1e-3
) -> Iterator[Evidence]:
    """The output activation and the loss do not fit together.

    What it does: looks at what enters each loss. Softmax over a single unit. Probabilities into a loss that applies
    softmax or sigmoid itself. Probabilities or raw scores into a loss that expects log-probabilities, raw scores into
    one that expects probabilities. Sigmoids into a categorical loss. Softmax over the batch.

    Why is this bad: gradients are squashed or zero, or the loss measures nothing.

    Thresholds: share of the calls that show it; tolerance, how near rows are to summing to one; poor, the error beside
    a constant prediction's from which on it is an error. Half of all public faulty programs carry one of these.

    Not flagged: log-softmax into cross-entropy (harmless), softmax inside attention or gates, probabilities into losses
    that expect them.

    References: Humbatova et al. (2020) Taxonomy of real faults in deep learning systems, doi:10.1145/3377811.3380395.
    """
    table = history["loss"]
    fit = fit_of(history)
    progress = learns(history)
    poorly = fit.closing > poor if fit is not None else not progress
    role = Role.HARM if poorly or progress is False else Role.CAUSE
    for i, s in enumerate(table.subjects):
        fault = _fault(history, i, tolerance, share)
        if fault is not None:
            quantity, value, relation, limit = fault
            yield Evidence(
                quantity,
                value,
                relation,
                limit,
                int(table.steps[0]),
                module=s.module,
                source=s.source,
                role=role,
                detail=f"{s.traits.get('operation') or 'output'} into {s.traits['function']}",
            )


def _fault(history: History, i: int, tolerance: float, share: float) -> tuple[str, float, str, float] | None:
    """(quantity, value, relation, threshold) of what is wrong at one loss call."""
    table = history["loss"]
    s = table.subjects[i]
    function, operation = s.traits.get("function", ""), s.traits.get("operation", "")
    margin = table.column("margin")[:, i]
    low, high = table.column("prediction_min")[:, i], table.column("prediction_max")[:, i]
    seen = np.isfinite(low)
    if not seen.any():
        return None
    if s.traits.get("one_unit_softmax"):
        return "units under the softmax", 1, "<", 2
    shape = s.traits.get("prediction_shape", ())
    if function == "cross_entropy" and len(shape) > 1 and shape[1] == 1:
        return "classes of a cross-entropy", 1, "<", 2
    if operation.endswith("over the batch"):
        return "softmax runs over the batch: dimension", 0, "<", 1
    inside = float(((low[seen] >= -1e-6) & (high[seen] <= 1 + 1e-6)).mean()) >= share
    known = margin[~np.isnan(margin)]
    sums = len(known) > 0 and float((known <= tolerance).mean()) >= share
    outside = float(((low[seen] < -1e-3) | (high[seen] > 1 + 1e-3)).mean())
    if function in PROBABILITIES and operation not in {"softmax", "sigmoid"} and outside >= 0.5:
        extreme = float(np.nanmin(low)) if np.nanmin(low) < 0 else float(np.nanmax(high))
        bound, relation = (0, "<") if extreme < 0 else (1, ">")
        return "raw scores enter a loss that expects probabilities: extreme input", extreme, relation, bound
    if function == "categorical_cross_entropy" and operation == "sigmoid" and len(known) and not sums:
        return "outputs that do not compete: largest |sum - 1| of a sample", float(known.max()), ">", tolerance
    if function == "cross_entropy" and (operation in {"softmax", "sigmoid"} or sums) and inside:
        return "probabilities enter a loss that applies softmax: largest input", float(np.nanmax(high)), "<=", 1
    if function == "binary_cross_entropy_with_logits" and operation in {"sigmoid", "softmax"} and inside:
        return "probabilities enter a loss that applies sigmoid: largest input", float(np.nanmax(high)), "<=", 1
    if function == "nll_loss" and inside and operation != "log_softmax" and float(np.nanmax(high)) > 0:
        return "probabilities enter a loss that expects their logarithm: largest input", float(np.nanmax(high)), ">", 0
    if function == "nll_loss" and operation != "log_softmax" and float((high[seen] > 1e-3).mean()) >= 0.5:
        return "raw scores enter a loss that expects log-probabilities: largest input", float(np.nanmax(high)), ">", 0
    if function == "kl_div" and float((high[seen] > 1e-3).mean()) >= share and operation in {"softmax", "sigmoid", ""}:
        return "probabilities enter a loss that expects their logarithm: largest input", float(np.nanmax(high)), ">", 0
    if function == "binary_cross_entropy" and operation == "softmax" and len(shape) > 1 and shape[-1] > 1:
        labels = float(np.nanmean(table.column("target_mean")[:, i])) * shape[-1]
        if abs(labels - 1) > 0.05:
            return "labels per sample, against a softmax whose outputs sum to one", labels, "!=", 1
    if function in {"cross_entropy", "binary_cross_entropy_with_logits"} and operation == "relu":
        return "scores pass a relu before the loss: smallest input", float(np.nanmin(low)), ">=", 0
    if (
        function in {"cross_entropy", "binary_cross_entropy_with_logits"}
        and operation == "tanh"
        and learns(history) is False
    ):
        return "scores pass a tanh before the loss: smallest input", float(np.nanmin(low)), ">=", -1
    return None
