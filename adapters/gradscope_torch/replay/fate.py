"""Fate: when a parameter stopped being finite, and which update did it, as far as that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradscope_torch.objective import Objective

LOOKED_UP = (torch.nn.Embedding, torch.nn.EmbeddingBag)
"""Of their weights only the rows that are looked up take part in a step."""


def fate_of(parameter: Tensor, objectives: Sequence[Objective]) -> str:
    """Since when it is not finite, in words; asked before the step that failed has been written."""
    own = next((o for o in objectives if any(p is parameter for p in o.own())), None)
    if own is None:
        return "no optimizer that was seen holds it"
    own.flush()
    table = own.history["gradient"]
    column = next((at for at, p in enumerate(own.parameters) if p is parameter), None)
    if column is None or not len(table) or column >= len(table.subjects):
        return "since before the first step that was seen"
    step, norm = int(table.steps[-1]), float(table.column("gradient_norm")[-1, column])
    if not np.isfinite(norm):
        return f"since the update of step {step}, whose gradient was not finite"
    details = own.history["parameter"]
    broken = details.column("nonfinite")[:, column] > 0 if len(details) else np.array([], bool)
    sound = [int(s) for s, bad in zip(details.steps, broken, strict=True) if not bad]
    if broken.any():
        first = int(details.steps[np.flatnonzero(broken)[0]])
        by = first - 1 in sound
        return (
            f"since the update of step {first}, whose gradient was finite" if by else f"since step {first}, or before"
        )
    looked_up = isinstance(own.names.owner(parameter), LOOKED_UP)
    if norm > 0 and (not looked_up or step in sound):
        return f"since the update of step {step}, whose gradient was finite"
    return f"since an update after step {sound[-1]}" if sound else "since when is not known"
