"""GS001 non-finite-loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.trend import first_step
from gradscope.verdict import Evidence, Role, born


@rule("GS001", explains=("non-finite-gradient", "non-finite-parameter", "stalled-loss"))
def non_finite_loss(history: History, *, near_zero: float = 1e-6) -> Iterator[Evidence]:
    """The loss is NaN or infinite, or is about to be.

    What it does: looks for the first loss that is not finite, and for the first operation or module that turned finite
    inputs into non-finite outputs. Before that happens it looks at logarithms of a sigmoid or softmax that nothing
    protects.

    Why is this bad: every gradient of that step is NaN, and one optimizer step carries it into all weights.

    Thresholds: near_zero, the argument of an unprotected log at which float32 (resolution 6e-8 next to one) is a few
    roundings away from log(0).

    Not flagged: an infinite loss of a step that a loss scaler skipped, unless at least half of the steps are lost that
    way. One that is no number is a warning there: no scale cures it.

    References: Goldberg (1991) What every computer scientist should know about floating-point arithmetic,
    doi:10.1145/103162.103163.
    """
    bad = history.run("loss_nonfinite") == 1
    skipped = history.run("skipped") == 1
    real = bad & ~skipped
    if real.any() or (bad.any() and bad.mean() >= 0.5):
        row = int(np.flatnonzero(real if real.any() else bad)[0])
        step = int(history["step"].steps[row])
        first = born(history, step)
        yield from first
        if not any(e.module for e in first):
            yield from _origins(history, step)
        value = float(history.run("loss")[row])
        yield Evidence(
            "loss", value, "is not", 0.0, step, role=Role.HARM, detail=f"{int(bad.sum())} of {len(bad)} steps"
        )
        return
    broken = bad & np.isnan(history.run("loss"))
    if broken.any():
        step = int(history["step"].steps[int(np.argmax(broken))])
        detail = f"{int(broken.sum())} of {len(bad)} steps, which the loss scaler skipped"
        yield Evidence("loss", math.nan, "is not", 0.0, step, detail=detail)
        yield from (replace(e, role=Role.CAUSE) for e in born(history, step))
        return
    table = history["loss"]
    for i, site in enumerate(table.subjects):
        margin = table.column("margin")[:, i]
        if site.traits.get("function") == "log" and (margin < near_zero).any():
            since = first_step(table, margin < near_zero)
            quantity = f"argument of log, fed by {site.traits.get('operation')} without protection"
            yield Evidence(
                quantity, float(np.nanmin(margin)), "<", near_zero, since, module=site.module, source=site.source
            )


def _origins(history: History, step: int) -> Iterator[Evidence]:
    inputs = history["input"]
    row = np.flatnonzero(inputs.steps == step)
    for i, s in enumerate(inputs.subjects):
        count = inputs.column("nonfinite")[row, i]
        if count.size and count[0] > 0:
            yield Evidence(
                "non-finite values in the input", float(count[0]), ">", 0, step, module=s.module, role=Role.HARM
            )
            return
    table = history["module"]
    row = np.flatnonzero(table.steps == step)
    if not len(row):
        return
    order = table.column("order")[row[0]]
    for i in np.argsort(order):
        out, given = table.column("output_nonfinite")[row[0], i], table.column("input_nonfinite")[row[0], i]
        if out > 0 and given == 0:
            s = table.subjects[i]
            yield Evidence(
                "non-finite outputs of finite inputs", float(out), ">", 0, step, module=s.module, role=Role.HARM
            )
            return
