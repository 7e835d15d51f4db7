"""Gap: how far the loss on held-out data lies above that of training, where a run has measured both."""

from __future__ import annotations

import math

from gradscope.history import History


def gap_of(history: History) -> tuple[float, float] | None:
    """(loss of training, loss on held-out data), from facts["gap"] of a history; None where it was not measured.

    facts["gap"] is {"training": float, "held_out": float}: means over samples, both in evaluation mode.
    """
    told = history.facts.get("gap")
    if not isinstance(told, dict):
        return None
    found = tuple(told.get(k) for k in ("training", "held_out"))
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in found):
        return None
    return float(found[0]), float(found[1])  # type: ignore[arg-type]


def gap_reason(history: History, effect: str) -> str:
    """Why a remedy of overfitting is told: the gap where it was measured, else that held-out data must tell."""
    gap = gap_of(history)
    if gap is None:
        return f"{effect}; whether that helps, held-out data must tell"
    return f"{effect}; the loss is {gap[0]:.3g} in training and {gap[1]:.3g} on held-out data"
