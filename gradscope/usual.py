"""What is usual in the sound part of a run: the numbers that remedies are made of."""

from __future__ import annotations

import math

import numpy as np

from gradscope.history import History
from gradscope.trend import matrices, sound, sound_rows, total_gradient, update_ratios
from gradscope.verdict import Verdict

WANTED_RATIO = 0.01
"""Update norm / parameter norm of a brisk but sound step."""


def usual_rate(history: History) -> float | None:
    """The median learning rate; None when it is unknown or zero."""
    rates = history.run("learning_rate")
    seen = rates[np.isfinite(rates)]
    rate = float(np.median(seen)) if len(seen) else 0.0
    return rate or None


def usual_gradient(history: History) -> float | None:
    """The median gradient norm before clipping, of steps whose gradient is finite; None when there is none."""
    total = total_gradient(history)
    seen = total[np.isfinite(total) & (total > 0)]
    return float(np.median(seen)) if len(seen) else None


def sound_gradient(history: History, *, fewest: int = 10) -> float | None:
    """The median gradient norm of the part of a run in which the loss has not left for good; None without such a part.

    The loss has left after the last step at which it was no more than twice that of the first steps.
    """
    table = history["gradient"]
    total, loss = total_gradient(history), np.abs(history.run_at("loss", "gradient"))
    rows = sound_rows(history, table)
    opening = loss[:3][np.isfinite(loss[:3])]
    if len(opening):
        low = np.flatnonzero(loss <= 2 * opening.max())
        rows &= np.arange(len(rows)) <= (low[-1] if len(low) else -1)
    seen = total[rows & np.isfinite(total) & (total > 0)]
    return float(np.median(seen)) if len(seen) >= fewest else None


def growth(history: History) -> float | None:
    """The factor by which the loss grows from step to step, when it does so geometrically; else None.

    That is how a step beyond 2 / curvature shows: the error is multiplied by |1 - rate x curvature| in each step.
    """
    loss = sound(history, history.run("loss"))
    loss = loss[np.isfinite(loss)]
    if len(loss) < 6 or not (loss > 0).all():
        return None
    factors = loss[1:] / loss[:-1]
    middle = float(np.median(factors))
    steady = float((factors > 1 + 0.2 * (middle - 1)).mean())
    return middle if middle > 1.01 and steady >= 0.8 and loss[-1] > 10 * loss[0] else None


def climbs(history: History, *, aligned: float = 0.5, rise: float = 10.0) -> bool:
    """Whether the loss grows manifold along gradients that agree: it is followed uphill.

    Steps that are too long go to and fro across the valley; then each gradient is against the one before.
    """
    cosine = history.run("gradient_cosine")
    seen = cosine[np.isfinite(cosine)]
    loss = sound(history, history.run("loss"))
    loss = loss[np.isfinite(loss)]
    tenth = max(1, len(loss) // 10)
    if len(seen) < 5 or len(loss) < 10 or float(np.median(seen)) <= aligned:
        return False
    opening = float(np.median(loss[:tenth]))
    return opening > 0 and float(np.median(loss[-tenth:])) > rise * opening


def broke_alone(history: History) -> bool:
    """Whether weights were not finite while every gradient up to then was, and every loss."""
    parameters, gradients = history["parameter"], history["gradient"]
    rows = np.flatnonzero((parameters.column("nonfinite") > 0).any(axis=1))
    if not len(rows):
        return False
    step = parameters.steps[rows[0]]
    before = gradients.steps <= step
    lost = history["step"].steps[history.run("loss_nonfinite") == 1]
    return bool(
        before.any() and np.isfinite(gradients.column("gradient_norm")[before]).all() and not (lost <= step).any()
    )


def is_network(history: History) -> bool:
    """Whether layers were seen, or matrices that may be some: advice on layers fits nothing else."""
    if history["module"].subjects:
        return True
    return int(matrices(history["gradient"]).sum()) > 1


def kinds(history: History) -> frozenset[str]:
    """Types of the modules and names of the activations that were seen, lower case."""
    seen = {s.type.lower() for s in history["module"].subjects}
    seen |= {str(s.traits.get("module_type", "")).lower() for s in history["gradient"].subjects}
    seen |= {str(s.traits.get("activation") or "").lower() for s in history["module"].subjects}
    return frozenset(seen - {""})


def recurrent(history: History) -> bool:
    """Whether a recurrent matrix was seen, by the type of its module or the name of the parameter."""
    types = ("rnn", "lstm", "gru", "simplernn", "bidirectional", "convlstm", "recurrent")
    if any(k.startswith(types) for k in kinds(history)):
        return True
    return any("weight_hh" in s.name or "recurrent" in s.name for s in history["gradient"].subjects)


def has_layer(history: History, word: str) -> bool:
    """Whether a layer has a word in its type or, where the framework knows no types of layers, in its name."""
    return any(word in k for k in kinds(history) | {s.name.lower() for s in history["module"].subjects})


def convolutional(history: History) -> bool:
    """Whether a layer is a convolution."""
    return any(k.startswith(("conv", "depthwiseconv", "separableconv")) for k in kinds(history))


def largest_ratio(history: History) -> float | None:
    """The largest median update ratio (over weight matrices) of the sound part of the run; None when unknown."""
    table = history["parameter"]
    columns, rows = matrices(table), sound_rows(history, table)
    if not columns.any() or not rows.any():
        return None
    ratios = update_ratios(history)[rows][:, columns]
    known = ratios[np.isfinite(ratios).any(axis=1)]
    return float(np.nanmax(np.nanmedian(known, axis=1))) if len(known) else None


def steepness(history: History) -> float:
    """Median over the sound run of gradient norm x parameter norm / |loss|: how steep the loss is, in no unit.

    Healthy networks lie between 0.1 and 10. NaN when unknown.
    """
    table = history["parameter"]
    norms = np.sqrt(np.nansum(np.square(table.column("parameter_norm"), dtype="f8"), axis=1))
    rows = np.searchsorted(history["gradient"].steps, table.steps)
    total = np.append(total_gradient(history), np.nan)[np.minimum(rows, len(history["gradient"]))]
    loss = np.abs(history.run_at("loss", "parameter"))
    known = sound_rows(history, table) & np.isfinite(total) & (loss > 0)
    return float(np.median(total[known] * norms[known] / loss[known])) if known.any() else math.nan


def swollen_weights(history: History, *, least: float = 3.0) -> float | None:
    """The norm of all weight matrices at the end over that at the beginning of the sound run; None under `least`."""
    table = history["parameter"]
    columns, rows = matrices(table), sound_rows(history, table)
    if not columns.any() or rows.sum() < 2:
        return None
    norms = np.sqrt(np.nansum(np.square(table.column("parameter_norm")[rows][:, columns], dtype="f8"), axis=1))
    grown = float(norms[-1] / norms[0]) if norms[0] > 0 else math.nan
    return grown if grown >= least else None


def wanted_batches(verdict: Verdict, *, most: int = 64) -> int:
    """How many batches make one that averages the noise away: the power of two next to the noise scale over the batch
    size, which is the first evidence of noisy-gradient; between 2 and `most`."""
    scale = verdict.evidence[0].value
    return int(2 ** round(math.log2(min(max(scale, 2.0), most))))


def rounded(value: float) -> float:
    """The value to one significant digit: 1, 2 or 5 times a power of ten."""
    if not value > 0 or not math.isfinite(value):
        return value
    power = 10.0 ** math.floor(math.log10(value))
    nearest = min((1, 2, 5, 10), key=lambda k: abs(k - value / power))
    return float(f"{nearest * power:.1g}")
