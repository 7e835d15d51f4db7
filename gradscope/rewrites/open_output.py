"""open-output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradscope.history import History
from gradscope.program.activations import output_activations
from gradscope.program.outputs import without
from gradscope.program.source import Source
from gradscope.rewrites.scale_target import scale_target
from gradscope.rewriting import Site, rewrite

LARGE = 3.0
"""Targets that deviate by more are too far for a fresh output."""


def fit_numbers(history: History) -> dict[str, float] | None:
    """Mean and deviation of the targets, as they were seen at the loss; None where they were not."""
    table = history["loss"]
    for subject in table.subjects:
        mean, deviation = (table.series(q, subject.name) for q in ("target_mean", "target_deviation"))
        if np.isfinite(mean).any() and np.isfinite(deviation).any():
            return {"mean": float(np.nanmedian(mean)), "deviation": float(np.nanmedian(deviation))}
    return None


@rewrite
def open_output(source: Source, site: Site) -> Source:
    """The output without its bounded activation; where the targets are large, in units of their deviation."""
    bounded = frozenset({"sigmoid", "tanh", "relu", "softmax"})
    opened = without(source, output_activations(source, bounded, site.lines(source)))
    spread = fit_numbers(site.history)
    if spread is None or spread["deviation"] < LARGE:
        return opened
    return scale_target.change(opened, replace(site, settings=spread))
