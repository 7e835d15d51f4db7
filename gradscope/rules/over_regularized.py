"""GS204 over-regularized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import Fit, fit_of, learns, why_no_fit
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import FEWEST, matrices, sound_rows
from gradscope.verdict import Evidence, Role

DECOUPLED = frozenset({"AdamW", "NAdamW", "SGDW", "Lion", "AdamaxW", "RAdamW"})
"""Optimizers whose decay shrinks the weights by learning rate x weight decay, whatever the gradient."""


@rule("GS204", explains=("collapsed-output", "stalled-loss", "vanishing-gradient", "dead-units", "undersized-update"))
def over_regularized(
    history: History, *, shrink: float = 0.6, outweigh: float = 1.0, fewest: int = 20, taken: float = 0.02
) -> Iterator[Evidence]:
    """The penalty outweighs the data: weights shrink and the fit stays poor.

    What it does: the norm of all weight matrices at the end over that at the beginning, and the optimizer's weight
    decay times the weights over the gradient of the loss.

    Why is this bad: the optimum of such a sum is near zero weights, that is, a constant prediction.

    Thresholds: shrink, what is left of the norm; outweigh, penalty over gradient; fewest, steps seen. Reported when the
    prediction is no better than a constant. taken, the share of every weight that decoupled decay takes in a step
    (learning rate x weight decay), which is a cause whatever is learnt: usual are 1e-6 to 1e-3, and at 0.02 nothing
    older than fifty steps is left.

    Not flagged: decay that shrinks weights of a run that learns.

    References: Krogh & Hertz (1991) A simple weight decay can improve generalization.
    """
    yield from _taken(history, taken)
    fit = fit_of(history)
    if fit is None:
        raise NotJudged(why_no_fit(history))
    penalty = _penalty(history, fit)
    if fit.closing < 0.9 or (learns(history) and not penalty > outweigh):
        return  # a loss that is mostly penalty falls with the weights, and tells nothing
    table = history["parameter"]
    columns = matrices(table)
    rows = sound_rows(history, table)
    if not columns.any() or rows.sum() < fewest:
        return
    total = np.sqrt(np.nansum(np.square(table.column("parameter_norm")[rows][:, columns].astype("f8")), axis=1))
    decay = float(history.facts.get("settings", {}).get("weight_decay", 0.0))
    gradient = _gradient_of(history, columns, rows)
    left = float(total[-1] / total[0]) if total[0] > 0 else 1.0
    pull = decay * float(np.nanmedian(total / np.maximum(gradient, 1e-30))) if np.isfinite(gradient).any() else 0.0
    s = table.subjects[int(np.flatnonzero(columns)[0])]
    if left < shrink and (pull > outweigh if decay else penalty > outweigh):
        step = int(table.steps[0])
        yield Evidence(
            "weight norm at the end / at the beginning", left, "<", shrink, step, s.name, s.module, role=Role.HARM
        )
        if decay:
            yield Evidence(
                "weight decay x weights / gradient",
                pull,
                ">",
                outweigh,
                step,
                role=Role.HARM,
                detail=f"weight_decay {decay:g}",
            )
        else:
            yield Evidence("penalty in the loss / error", penalty, ">", outweigh, step, role=Role.HARM)


def _taken(history: History, share: float) -> Iterator[Evidence]:
    """Decay that is no part of the gradient, and takes a large share of every weight in each step."""
    rates = history.run("learning_rate")
    decay = float(history.facts.get("settings", {}).get("weight_decay", 0.0))
    seen = rates[np.isfinite(rates)]
    if history.facts.get("optimizer") not in DECOUPLED or not len(seen) or not decay > 0:
        return
    value = float(np.median(seen)) * decay
    if value > share:
        detail = f"weight_decay {decay:g}"
        quantity = "learning rate x weight decay"
        yield Evidence(quantity, value, ">", share, int(history["step"].steps[0]), role=Role.CAUSE, detail=detail)


def _gradient_of(history: History, columns: Array, rows: Array) -> Array:
    """The gradient norm over the weight matrices alone, at the steps of the parameter table; NaN where unknown. A bias
    is not held back by a penalty as the matrices are, and may have all the gradient that is left."""
    table = history["gradient"]
    norms = np.where(table.column("gradient_norm") > 0, table.column("gradient_norm"), 0)[:, columns]
    known = dict(zip(table.steps.tolist(), np.sqrt(np.square(norms.astype("f8")).sum(axis=1)), strict=True))
    return np.array([known.get(step, np.nan) for step in history["parameter"].steps[rows].tolist()])


def _penalty(history: History, fit: Fit) -> float:
    """What the loss holds at the beginning beside the value of its loss call, as a multiple of that value.

    A factor on the loss is no penalty: the unit is the smallest loss / value of the run, where weights have shrunk.
    """
    value = history["loss"].series("value", fit.site.name)
    loss = history.run_at("loss", "loss")
    known = np.isfinite(value) & np.isfinite(loss) & (value > 0) & (loss > 0)
    if known.sum() < FEWEST:
        return 0.0
    ratio = loss[known] / value[known]
    tenth = max(5, len(ratio) // 10)
    unit = min(float(np.median(ratio[k : k + tenth])) for k in range(0, len(ratio) - tenth + 1, tenth))
    return float(np.median(ratio[:tenth])) / unit - 1
