"""Race: arms against a control over seeds, within a budget. Whoever is far behind does not run again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from gradscope.trials.effect import Effect, comparable_by_ratio
from gradscope.trials.printed import Measure

CONTROL = -1
"""The number of the control among the arms."""
FEWEST = 3
"""So many arms go on at least, where so many are better than the control."""


@dataclass(frozen=True, slots=True)
class Finish:
    """One run: what was measured, or how it failed."""

    value: float = math.nan
    failure: str | None = None


Run = Callable[[int, int], Finish]
"""Called with the number of an arm (or CONTROL) and a seed."""
Progress = Callable[[int, int], None] | None
"""Called with the runs that are done, and those that are planned."""


@dataclass(slots=True)
class Race:
    """What has been run so far. finishes: (arm, seed) -> Finish. stopped: the arms that were left behind."""

    run: Run
    measure: Measure
    arms: int
    seeds: Sequence[int]
    deadline: float
    jobs: int = 1
    on_progress: Progress = None
    favoured: frozenset[int] = frozenset()
    """Arms that go on as long as they are better at all: they are meant for the cause."""
    finishes: dict[tuple[int, int], Finish] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)

    def hold(self) -> None:
        """Runs all rounds: with the first seed every arm, with each further one the better half of those that are left
        (successive halving: Jamieson & Talwalkar 2016, arXiv:1502.07943)."""
        running = list(range(self.arms))
        for done, seed in enumerate(self.seeds):
            self._round([CONTROL, *running], seed, len(self.seeds) - done - 1)
            if self.late:
                return
            kept = self._kept(running)
            if done + 1 < len(self.seeds):
                self.stopped |= set(running) - set(kept)
            running = kept

    @property
    def late(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() >= self.deadline

    def effect(self, arm: int) -> Effect | None:
        """How much better an arm is; None where it did not run beside the control."""
        control, values = self._values(CONTROL), [f.value for (a, _), f in self.finishes.items() if a != CONTROL]
        ratio = comparable_by_ratio(self.measure, control.values(), values)
        effect = Effect(self.measure, control, self._values(arm), ratio)
        return effect if effect.seeds else None

    def failure(self, arm: int) -> str | None:
        """How an arm failed, the first time that it did; None when the control failed with that seed as well."""
        seeds = [s for a, s in self.finishes if a == arm]
        told = [(self.finishes[arm, s].failure, self.finishes.get((CONTROL, s), Finish()).failure) for s in seeds]
        return next((mine for mine, control in told if mine is not None and control is None), None)

    def _values(self, arm: int) -> dict[int, float]:
        return {s: f.value for (a, s), f in sorted(self.finishes.items()) if a == arm}

    def _kept(self, running: Sequence[int]) -> list[int]:
        gains = {arm: e.gain for arm in running if (e := self.effect(arm)) is not None and not self.failure(arm)}
        better = sorted((a for a in gains if gains[a] > 0), key=lambda a: gains[a], reverse=True)
        kept = better[: max(FEWEST, math.ceil(len(running) / 2))]
        return kept + [a for a in better if a in self.favoured and a not in kept]

    def _round(self, arms: Sequence[int], seed: int, more: int) -> None:
        planned = len(self.finishes) + len(arms) + more * (1 + max(FEWEST, len(arms) // 2))
        with ThreadPoolExecutor(self.jobs) as pool:
            futures: list[Future[None]] = [pool.submit(self._one, arm, seed, planned) for arm in arms]
            for future in futures:
                future.result()

    def _one(self, arm: int, seed: int, planned: int) -> None:
        if (arm, seed) in self.finishes or (self.late and (arm != CONTROL or seed)):
            return
        self.finishes[arm, seed] = self.run(arm, seed)
        if self.on_progress is not None:
            self.on_progress(len(self.finishes), planned)
