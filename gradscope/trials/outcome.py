"""Outcome and Trial: what came of each remedy that was tried, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gradscope.program.files import Files
from gradscope.trials.effect import Effect
from gradscope.trials.printed import Measure
from gradscope.verdict import Remedy, finite_or_text


class Result(StrEnum):
    """cures: better, and no error is left. helps: better, and still ill, or not judged again. left
    behind: better with the seeds that were tried, and others were further ahead."""

    CURES = "cures"
    HELPS = "helps"
    BEHIND = "left behind"
    NO_EFFECT = "no effect"
    WORSE = "worse"
    NOT_APPLIED = "could not be applied"
    NOT_TRIED = "not tried"

    @property
    def rank(self) -> int:
        """0 for CURES and so on: sorts by what one would take."""
        return list(Result).index(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One arm: its remedies (two where they were combined), what they are for, and what came of them.

    why: the reason where it could not be applied or was not tried, or how the treated program failed. after: the
    illnesses that were found in the treated program; None where it was not judged. stopped: it was so far behind that
    later seeds were not tried. files: the treated program.
    """

    remedies: tuple[Remedy, ...]
    verdict: str
    result: Result
    effect: Effect | None = None
    why: str | None = None
    after: tuple[str, ...] | None = None
    stopped: bool = False
    place: int = 0
    """Where it stood among those that were suggested, from 0."""
    files: Files | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The names of its remedies, with the number of one that is tried at several strengths."""
        return " + ".join(_named(r) for r in self.remedies)

    @property
    def title(self) -> str:
        """What is changed."""
        return "; ".join(r.title for r in self.remedies)

    def as_dict(self, framework: str | None = None) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "verdict": self.verdict,
            "result": str(self.result),
            "why": self.why,
            "effect": None if self.effect is None else self.effect.as_dict(),
            "after": None if self.after is None else list(self.after),
            "stopped": self.stopped,
            "place": self.place,
            "remedies": [r.as_dict(framework) for r in self.remedies],
        }


def _named(remedy: Remedy) -> str:
    rate = remedy.settings.get("rate")
    return f"{remedy.name} ({rate:g})" if isinstance(rate, float) else remedy.name


@dataclass(frozen=True, slots=True)
class Trial:
    """All outcomes, what one would take first. before: the illnesses of the program as it is. control: what was
    measured of it, by seed. measure: None when nothing could be measured, for the reason in cannot."""

    outcomes: tuple[Outcome, ...]
    before: tuple[str, ...]
    measure: Measure | None = None
    control: Mapping[int, float] = field(default_factory=dict)
    framework: str | None = None
    seconds: float = 0.0
    runs: int = 0
    cannot: str | None = None
    notes: tuple[str, ...] = ()
    files: Files | None = field(default=None, repr=False)
    """The program as it was read."""

    @property
    def best(self) -> Outcome | None:
        """The first that cures or helps."""
        first = self.outcomes[0] if self.outcomes else None
        return first if first is not None and first.result in {Result.CURES, Result.HELPS} else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without a bare NaN."""
        return {
            "status": "cured"
            if self.best and self.best.result is Result.CURES
            else "helped"
            if self.best
            else "not helped",
            "before": list(self.before),
            "measure": None if self.measure is None else self.measure.as_dict(),
            "control": {str(s): finite_or_text(v) for s, v in self.control.items()},
            "outcomes": [o.as_dict(self.framework) for o in self.outcomes],
            "seconds": round(self.seconds, 1),
            "runs": self.runs,
            "cannot": self.cannot,
            "notes": list(self.notes),
        }
