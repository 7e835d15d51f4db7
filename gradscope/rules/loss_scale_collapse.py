"""GS702 loss-scale-collapse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import Array, History
from gradscope.origin import Origin
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role, born

NAMED = 4
"""So many parameters are named: behind the first, all that lies upstream of it overflows too."""


@rule(
    "GS702",
    explains=("non-finite-gradient", "non-finite-loss", "unchanged-parameter", "stalled-loss", "undersized-update"),
)
def loss_scale_collapse(
    history: History, *, share: float = 0.5, halvings: float = 10.0, fewest: int = 20
) -> Iterator[Evidence]:
    """The loss scaler keeps halving and never finds a scale that does not overflow.

    What it does: counts the steps that a loss scaler skipped, and how far the scale has fallen; names the parameters
    whose gradient is not finite in the skipped steps, those first that backward comes to first; where such a step could
    be run again, also the operation that overflowed.

    Why is this bad: skipped steps do not train; at a scale near zero small gradients vanish altogether.

    Thresholds: share of skipped steps of the second half, and of the skipped steps in which the gradient of a parameter
    overflows, for it to be named; halvings from the largest scale; fewest, steps seen.

    Not flagged: the first skipped steps from a high starting scale, an occasional skip later. No parameter is named
    where the loss itself is not finite in most of the skipped steps.

    References: Micikevicius et al. (2018) arXiv:1710.03740.
    """
    skipped, scale = history.run("skipped"), history.run("loss_scale")
    if not np.isfinite(scale).any() or len(skipped) < fewest:
        return
    late = float(skipped[len(skipped) // 2 :].mean())
    known = scale[np.isfinite(scale)]
    fallen = float(np.log2(known.max() / max(known[-1], 1e-30)))
    if late < share or fallen < halvings:
        return
    step = int(history["step"].steps[int(np.argmax(skipped))])
    yield from _overflowing(history, share)
    origin = history.facts.get("origin")
    if isinstance(origin, Origin):
        yield from born(history, origin.step)
    yield Evidence("share of skipped steps in the second half", late, ">=", share, step, role=Role.HARM)
    yield Evidence("halvings of the loss scale", fallen, ">=", halvings, step, role=Role.HARM)


def _overflowing(history: History, share: float) -> Iterator[Evidence]:
    """The parameters whose gradient overflows when a step is skipped, in the order of the backward pass."""
    table = history["gradient"]
    skipped = history.run_at("skipped", "gradient") > 0
    if not skipped.any():
        return
    step = int(table.steps[skipped][0])
    loss = float((history.run_at("loss_nonfinite", "gradient")[skipped] == 1).mean())
    if loss >= share:
        quantity = "share of skipped steps whose loss is not finite"
        yield Evidence(quantity, loss, ">=", share, step, role=Role.HARM)
        return
    bad = ~np.isfinite(table.column("gradient_norm")[skipped])
    often = bad.mean(axis=0)
    position = _positions(history)
    found = [i for i in np.flatnonzero(often >= share) if table.subjects[i].traits["optimized"]]
    for i in sorted(found, key=lambda i: (-position[i], -often[i]))[:NAMED]:
        s = table.subjects[i]
        first = int(table.steps[skipped][int(np.argmax(bad[:, i]))])
        quantity = "share of skipped steps in which its gradient overflows"
        yield Evidence(quantity, float(often[i]), ">=", share, first, s.name, s.module, role=Role.HARM)


def _positions(history: History) -> Array:
    """When the module of each parameter runs; -1 where that is unknown."""
    table = history["module"]
    orders = table.column("order")
    known = {
        s.name: float(np.nanmin(orders[:, at]))
        for at, s in enumerate(table.subjects)
        if np.isfinite(orders[:, at]).any()
    }
    return np.array([known.get(s.module, -1.0) for s in history["gradient"].subjects])
