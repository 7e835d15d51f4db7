"""GS403 collapsed-output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import Fit, fit_of, learns, main_site
from gradscope.history import Array, History
from gradscope.rule import NotJudged, rule
from gradscope.trend import sound_rows
from gradscope.verdict import Evidence, Role


@rule("GS403", explains=("stalled-loss",))
def collapsed_output(
    history: History, *, share: float = 1e-3, fall: float = 0.02, fewest: int = 20
) -> Iterator[Evidence]:
    """The model gives the same output for every input.

    What it does: the variance of the model's output over a batch at the end of the run, relative to its mean square,
    and beside that of the first steps in the output's own unit: outputs of a large mean and a small, but living, spread
    (logarithms of rates) have a small relative variance too.

    Why is this bad: whatever the loss says, the output holds no information about the input. Losses that only attract
    (two views of an image, a student and its teacher) are minimal for a constant.

    Thresholds: share, the relative variance that counts as none; fall, what is left of the variance of the first steps;
    fewest, the steps whose output was seen. Where targets are known, the prediction must also explain nothing of them.

    Not flagged: outputs that start constant (zero-initialized heads) and open up, batches of one, targets that hardly
    vary, a loss with targets that falls although no constant is known to compare it with (a Poisson likelihood).

    References: Jing et al. (2022) Understanding dimensional collapse, arXiv:2110.09348.
    """
    table = history["module"]
    rows = sound_rows(history, table)
    if rows.sum() < fewest:
        raise NotJudged(f"the model's output was seen at fewer than {fewest} sound steps")
    fit, progress = fit_of(history), learns(history)
    if fit is not None and fit.closing < 0.9:
        return
    if fit is None and progress and main_site(history) is not None:
        return
    for i, s in enumerate(table.subjects):
        if not s.traits.get("root"):
            continue
        relative = table.column("batch_variation")[rows, i].astype("f8")
        variance = relative * table.column("output_mean_square")[rows, i]
        seen = np.isfinite(variance)
        if seen.sum() < fewest:
            continue
        last = slice(-max(3, int(seen.sum()) // 4), None)
        closing = float(relative[seen][last].max())
        lost = float(variance[seen][last].max()) <= fall * float(np.median(variance[seen][:3]))
        poor = fit is not None and fit.closing >= 0.9
        spread = fit is None or _varies(history, fit)
        if closing <= share and spread and (lost or poor):
            role = Role.HARM if fit is not None or progress is not None else Role.CAUSE
            yield Evidence(
                "variance of the output over a batch / mean square",
                closing,
                "<=",
                share,
                _onset(table.steps[rows][seen], relative[seen], share),
                module=s.module,
                role=role,
            )


def _onset(steps: Array, relative: Array, share: float) -> int:
    """The first step from which on the relative variance stays at no more than its bound, to the end."""
    apart = np.flatnonzero(relative > share)
    return int(steps[min(apart[-1] + 1, len(steps) - 1) if len(apart) else 0])


def _varies(history: History, fit: Fit) -> bool:
    """Whether targets vary by more than a thousandth of their size squared, and predictions far less than they do."""
    means = history["loss"].series("target_mean", fit.site.name)
    if not np.isfinite(means).any():
        return True
    given = history["loss"].series("prediction_deviation", fit.site.name)
    flat = float(np.nanmedian(given[-len(given) // 4 :])) < 0.1 * np.sqrt(fit.baseline)
    return bool(flat and fit.baseline > 1e-3 * float(np.nanmean(means**2)))
