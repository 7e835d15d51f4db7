"""GS003 non-finite-parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role


@rule("GS003", explains=("non-finite-loss", "non-finite-gradient", "stalled-loss"))
def non_finite_parameter(history: History) -> Iterator[Evidence]:
    """The weights hold NaN or infinite values.

    What it does: counts non-finite entries of every parameter after each fully observed step.

    Why is this bad: the run is lost from that step on; a checkpoint written later is lost too.

    Thresholds: none; one entry is enough.

    Not flagged: buffers, which may hold masks of -inf on purpose.
    """
    table = history["parameter"]
    bad = table.column("nonfinite") > 0
    rows = np.flatnonzero(bad.any(axis=1))
    if not len(rows):
        return
    for i in np.flatnonzero(bad[rows[0]]):
        s = table.subjects[i]
        count = float(table.column("nonfinite")[rows[0], i])
        yield Evidence("non-finite entries", count, ">", 0, int(table.steps[rows[0]]), s.name, s.module, role=Role.HARM)
