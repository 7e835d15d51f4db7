"""Moving statistics: the averages that a normalization keeps while it trains, for evaluation. Their names tell them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from gradscope.history import History

FACT = "unmoved"
"""The fact of a history that lists those that never moved: pairs (name, name of their module)."""
QUANTITY = "updates of a moving statistic, while its module trained"
NAME = re.compile(r"(^|_)(moving|running)_?(mean|average|avg|var|variance|std)(_|$)")


def moving(names: Collection[str]) -> list[str]:
    """Those of some names that claim to be moving statistics: `running_mean`, `moving_variance`, not `mean`."""
    return [name for name in names if NAME.search(name)]


def never_moved(statistics: Mapping[str, ArrayLike]) -> bool:
    """Whether all statistics of a module are as they begin, each exactly zero or exactly one in every entry.

    One alone proves nothing: the mean of units that are zero for every sample stays zero.
    """
    return bool(statistics) and all(_untouched(np.asarray(values)) for values in statistics.values())


def note_unmoved(histories: Sequence[History], unmoved: Sequence[tuple[str, str]]) -> None:
    """Notes the statistics that never moved, (name, module), with each objective that trains their module; an only
    objective has them all."""
    for history in histories:
        own = {s.module for s in history["gradient"].subjects if s.traits["optimized"]}
        history.facts[FACT] = [pair for pair in unmoved if len(histories) == 1 or pair[1] in own]


def _untouched(values: NDArray[Any]) -> bool:
    return values.size > 0 and bool((values == 0).all() or (values == 1).all())
