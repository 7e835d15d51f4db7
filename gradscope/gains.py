"""Gains: how a fresh network passes a signal on, layer by layer, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gradscope.history import History


def note_gains(history: History, gradients: Mapping[str, float]) -> None:
    """Marks a history of one step as a cold check; its facts["layers"] hold the gain of each layer.

    gradients: layer, in order of execution -> root mean square of the gradient that reaches its output.
    """
    history.facts["cold"] = True
    scale = max(gradients.values(), default=0.0)
    table = history["module"]
    rows = []
    for name, gradient in gradients.items():
        at = table.index(name)
        if at is None:
            continue
        out, given = (float(table.column(q)[0, at]) for q in ("output_mean_square", "input_mean_square"))
        gain = math.sqrt(out / given) if given > 0 else math.nan
        rows.append({"module": name, "forward_gain": gain, "gradient": gradient / scale if scale else 0.0})
    history.facts["layers"] = rows
