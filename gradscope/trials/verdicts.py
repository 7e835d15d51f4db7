"""Verdicts of a trial: which remedies are tried, and what an effect and a second judgement say of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradscope.program.files import Files
from gradscope.report import Report
from gradscope.trials.effect import Effect
from gradscope.trials.outcome import Outcome, Result
from gradscope.verdict import Remedy, Severity

FINALISTS = 3
"""So many of the better programs are judged again."""


@dataclass(slots=True)
class Arm:
    """One treated program, or the reason why there is none."""

    remedies: tuple[Remedy, ...]
    verdict: str
    files: Files | None = None
    why: str | None = None


def names_of(report: Report) -> tuple[str, ...]:
    """The illnesses of a report that are errors or warnings, each once."""
    return tuple(dict.fromkeys(v.name for v in report.verdicts if v.severity is not Severity.INFO))


def remedies_of(report: Report) -> list[tuple[Remedy, str]]:
    """(remedy, name of its verdict), those of causes before those of consequences, each remedy with its variants behind
    it; each once."""
    found: dict[tuple[str, str], tuple[Remedy, str]] = {}
    for verdict in sorted(report.verdicts, key=lambda v: (v.severity is Severity.INFO, v.consequence_of is not None)):
        for remedy in (r for told in verdict.remedies for r in (told, *told.variants)):
            found.setdefault((remedy.name, str(sorted(remedy.settings.items()))), (remedy, verdict.name))
    return list(found.values())


def outcome_of(arm: Arm, effect: Effect | None, failure: str | None, *, stopped: bool = False) -> Outcome:
    """An outcome that is not judged again yet: helps, no effect, worse."""
    made = Outcome(arm.remedies, arm.verdict, Result.NO_EFFECT, effect, stopped=stopped, files=arm.files)
    if failure is not None:
        return replace(made, result=Result.NOT_APPLIED, why=failure, effect=None)
    if effect is None:
        return replace(made, result=Result.NOT_TRIED, why="the budget was spent")
    if effect.better:
        return replace(made, result=Result.BEHIND if stopped else Result.HELPS)
    return replace(made, result=Result.WORSE if effect.worse else Result.NO_EFFECT)


def cured(one: Outcome, before: Sequence[str], found: Sequence[tuple[str, str]]) -> bool:
    """Whether no error is left in a treated program, nor the verdict that the remedy was for, nor a warning that was
    there before. found: (name, severity) of its verdicts."""
    left = {name for name, _ in found}
    grave = any(severity == str(Severity.ERROR) for _, severity in found)
    return not grave and one.verdict not in left and not left & set(before)


def combinable(outcomes: Sequence[Outcome]) -> tuple[Remedy, Remedy] | None:
    """The best two remedies that are not one in two strengths; None when no two help."""
    helping = [o for o in sorted(outcomes, key=order_of) if o.result in {Result.CURES, Result.HELPS}]
    other = next((o for o in helping[1:] if o.remedies[0].name != helping[0].remedies[0].name), None)
    return None if other is None else (helping[0].remedies[0], other.remedies[0])


def order_of(outcome: Outcome) -> tuple[int, float, int]:
    """Sorts what one would take first to the front: what cures, then the larger gain, then the simpler change. Two
    together must be better than one by more than noise."""
    effect = outcome.effect
    gain = -math.inf if effect is None else effect.gain - (effect.noise if len(outcome.remedies) > 1 else 0.0)
    return outcome.result.rank, -gain, len(outcome.remedies)
