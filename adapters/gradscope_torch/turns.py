"""Turns: how many training steps were taken, when several optimizers share them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

MOST_TOGETHER = 16
"""So many optimizers alike may step for the first time before every further one counts as a step of its own."""


@dataclass(slots=True)
class Turn:
    """The steps of optimizers that are alike."""

    count: int = 0
    since: set[int] = field(default_factory=set)
    known: set[int] = field(default_factory=set)


class Turns:
    """Counts the steps of the most active kind of optimizer. Those of one kind (type, and shapes of parameters) that
    step in turn, as an ensemble does, take one step together; those that follow each other, as where every task gets
    a copy of the model and an optimizer, add up."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, Turn] = {}

    def step(self, kind: Hashable, who: int) -> None:
        """One step of an optimizer."""
        turn = self._kinds.setdefault(kind, Turn())
        one_more = who not in turn.known and len(turn.known) >= MOST_TOGETHER
        if not turn.since or who in turn.since or one_more:
            turn.count += 1
            turn.since = set()
        turn.since.add(who)
        turn.known.add(who)

    @property
    def count(self) -> int:
        """The training steps so far."""
        return max((t.count for t in self._kinds.values()), default=0)
