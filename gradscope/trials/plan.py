"""Plan: how a trial is held."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.trials.race import Progress


@dataclass(frozen=True, slots=True)
class Plan:
    """budget_s: no run is begun after that. seeds: how many. jobs: processes at a time. metric, higher: the printed
    number to compare by, and whether more of it is better; found by their names when None. only: names of the remedies
    to try; all when empty."""

    budget_s: float = 60.0
    seeds: int = 3
    jobs: int = 1
    metric: str | None = None
    higher: bool | None = None
    only: tuple[str, ...] = ()
    on_progress: Progress = None
