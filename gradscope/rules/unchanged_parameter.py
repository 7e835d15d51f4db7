"""GS013 unchanged-parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import MISSING, History
from gradscope.moving import FACT, QUANTITY
from gradscope.overwritten import FACT as OVERWRITTEN
from gradscope.rule import NotJudged, rule
from gradscope.trend import first_step, share_of
from gradscope.verdict import Evidence, Role

LEFT_OUT = "steps of the optimizer, which steps only what enters the model"


@rule("GS013", explains=("stalled-loss", "slow-convergence"))
def unchanged_parameter(
    history: History, *, fewest: int = 5, share: float = 0.5, negligible: float = 1e-6
) -> Iterator[Evidence]:
    """A parameter, or a moving statistic, that training should move never moves.

    What it does: six cases. A trainable parameter of a module that trains is in no optimizer. The optimizer holds a
    parameter whose value never changes. Gradients are computed but cleared before the step. The optimizer holds a
    parameter that is part of no model any more and gets no gradient in the last quarter of the steps, while its
    successor is in no optimizer. The moving mean and variance of a normalization, known by their names, are all still
    zero and one although their module ran in training mode. All that the optimizer steps are arrays which the program
    overwrites before the next step, as an input is with its batch, while no weight is stepped and the loss stays.

    Why is this bad: that part keeps its initial values, and the rest has to work around it. Moving statistics that
    never moved leave training as it is: what they spoil is evaluation, so they are a warning.

    Thresholds: fewest, the steps that must have been seen; share, the share of steps whose gradients were cleared
    early; negligible, a gradient beside the largest one (a bias before a normalization gets rounding errors only). An
    error when nothing learns, or when the optimizer itself leaves the parameter untouched.

    Not flagged: frozen parameters (requires_grad false), modules in eval mode, parameters of another optimizer,
    networks through which an input alone is optimized, steps that a loss scaler skipped. Other state that never
    changes, on purpose as a rule: seeds, masks, tables of positions, fixed features, normalizations that are frozen.
    """
    yield from _parameters(history, fewest=fewest, share=share, negligible=negligible)
    yield from _left_out(history)
    for name, module in history.facts.get(FACT, ()):
        yield Evidence(QUANTITY, 0, "<", 1, int(history["gradient"].steps[0]), name, module)


def _left_out(history: History) -> Iterator[Evidence]:
    """The weights of a model whose input is stepped in their place, batch by batch."""
    table, overwritten = history["gradient"], set(history.facts.get(OVERWRITTEN, ()))
    stepped = {s.name for s in table.subjects if s.traits["optimized"]}
    if not stepped or not stepped <= overwritten or learns(history) is not False:
        return
    for s in table.subjects:
        if not s.traits["optimized"] and not s.traits["elsewhere"] and s.traits["trainable"] and s.traits["training"]:
            yield Evidence(
                LEFT_OUT, 0, "<", 1, int(table.steps[0]), s.name, s.module, role=Role.HARM, detail=min(stepped)
            )


def _parameters(history: History, *, fewest: int, share: float, negligible: float) -> Iterator[Evidence]:
    table = history["gradient"]
    if len(table) < fewest:
        raise NotJudged(f"fewer than {fewest} steps")
    norms = table.column("gradient_norm")
    early = history.run("cleared_early")
    cleared = share_of(early)
    if cleared > share:
        step = first_step(history["step"], early == 1)
        yield Evidence(
            "share of steps whose gradients were cleared between backward and step",
            cleared,
            ">",
            share,
            step,
            role=Role.HARM,
        )
        return
    loose = [bool(s.traits["optimized"] and not s.traits["reachable"]) for s in table.subjects]
    held = [bool(s.traits["optimized"] and s.traits["reachable"]) for s in table.subjects]
    lately = norms[-max(fewest, len(norms) // 4) :]
    if not any(held) and (lately[:, np.array(loose, bool)] > 0).any():
        return
    outside = Role.CAUSE if learns(history) else Role.HARM
    rows = (history.run_at("skipped", "gradient") != 1) & (history.run_at("withheld", "gradient") != 1)
    if not rows.any():
        return
    parameters = history["parameter"]
    moved = parameters.column("moved_fraction")
    kept = np.isin(parameters.steps, table.steps[rows])
    sampled = norms[np.flatnonzero(rows)[:: max(1, int(rows.sum()) // 500)]]
    usual = np.nanmedian(np.maximum(sampled, 0), axis=0)
    largest = float(np.nanmax(usual, initial=0.0))
    outside_nonzero = (norms > 0).sum(axis=0) >= fewest
    replaced = any(
        g and not s.traits["optimized"] and not s.traits["elsewhere"]
        for g, s in zip(outside_nonzero, table.subjects, strict=True)
    )
    for i, s in enumerate(table.subjects):
        if replaced and s.traits["optimized"] and not s.traits["reachable"] and (lately[:, i] == MISSING).all():
            yield Evidence(
                "steps with a gradient, of a parameter that is in no model",
                0,
                "<",
                fewest,
                int(table.steps[0]),
                s.name,
                s.module,
                role=Role.HARM,
            )
            continue
        nonzero = norms[rows, i] > 0
        if nonzero.sum() < fewest or not s.traits["trainable"] or not s.traits["training"]:
            continue
        if not s.traits["optimized"]:
            if not s.traits["elsewhere"] and nonzero.mean() >= share:
                yield Evidence(
                    "steps with a gradient, held by no optimizer",
                    float(nonzero.sum()),
                    ">=",
                    fewest,
                    int(table.steps[0]),
                    s.name,
                    s.module,
                    role=outside,
                )
            continue
        at = parameters.index(s.name)
        changes = moved[kept, at] if at is not None else np.empty(0)
        matters = usual[i] > negligible * largest
        if np.isfinite(changes).sum() >= fewest and np.nanmax(changes) == 0 and matters:
            yield Evidence(
                "entries that ever changed", 0, "<", 1, int(table.steps[0]), s.name, s.module, role=Role.HARM
            )
