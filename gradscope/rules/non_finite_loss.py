"""GS001"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.history import History
from gradscope.rule import rule
from gradscope.verdict import Evidence, Role


@rule("GS001", explains=("non-finite-gradient", "non-finite-parameter"))
def non_finite_loss(history: History, *, steps: int = 1) -> Iterator[Evidence]:
    """The loss is NaN or infinite."""
    loss = history.run("loss")
    bad = np.flatnonzero(np.isinf(loss))
    if len(bad) >= steps:
        yield Evidence("loss", float(loss[bad[0]]), "is not", 0, int(bad[0]), role=Role.HARM)
