"""Table: a Trial as text, for people."""

from __future__ import annotations

import math
import textwrap

from gradscope.trials.effect import Effect
from gradscope.trials.outcome import Outcome, Result, Trial

WIDTH = 100


def rendered(trial: Trial) -> str:
    """One row for each remedy, the best first, and below it what was compared."""
    if trial.cannot:
        return f"nothing to try: {trial.cannot}"
    lines = [f"{'result':<11}  {'remedy':<34}  {'before':>10}  {'after':>10}  gain, 95 % interval over seeds"]
    tried = [o for o in trial.outcomes if o.result not in {Result.NOT_APPLIED, Result.NOT_TRIED}]
    for one in tried:
        lines += row(one)
    rest = [o for o in trial.outcomes if o not in tried]
    for one in rest:
        lines += wrapped(f"{one.result:<21}  {one.name}: {one.why}", " " * 23)
    lines.append("")
    if trial.measure is not None:
        kind = "more is better" if trial.measure.higher else "less is better"
        lines.append(f"compared by {trial.measure.name} ({trial.measure.occurrence}; {kind})")
    lines += trial.notes
    best = trial.best
    if best is not None:
        lines += ["", f"best: {best.title}"]
        lines += [f"      {r.reason}" for r in best.remedies]
        lines += [f"      risk: {r.risk}" for r in best.remedies if r.risk]
    lines.append(f"{trial.runs} runs in {trial.seconds:.0f} s; illnesses before: {', '.join(trial.before)}")
    return "\n".join(lines)


def row(one: Outcome) -> list[str]:
    """The row of an arm that was tried, and what is still wrong with the treated program."""
    effect = one.effect
    assert effect is not None
    before, after = (middle(v[s] for s in effect.seeds) for v in (effect.control, effect.treated))
    lines = [f"{one.result:<11}  {one.name:<34}  {number(before):>10}  {number(after):>10}  {gain(effect, one)}"]
    if one.after:
        lines.append(f"{'':<13}still found: {', '.join(one.after)}")
    return lines


def gain(effect: Effect, one: Outcome) -> str:
    """The mean gain and its interval."""
    shown = times if effect.ratio else number
    interval = effect.interval()
    count = len(effect.seeds)
    seeds = f"{count} seed{'s' if count > 1 else ''}{', then stopped' if one.stopped else ''}"
    if interval is None:
        return f"{shown(effect.gain)} ({seeds})"
    low, high = sorted(interval, reverse=effect.ratio)
    return f"{shown(effect.gain)} [{shown(low)}, {shown(high)}] ({seeds})"


def times(gain: float) -> str:
    """A log ratio as a factor."""
    return f"x{math.exp(min(max(-gain, -700), 700)):.3g}"


def middle(values: object) -> float:
    """The mean; NaN when one is none."""
    found = list(values)  # type: ignore[call-overload]
    return sum(found) / len(found) if found else math.nan


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def wrapped(text: str, indent: str) -> list[str]:
    """Lines of a width that a terminal has."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent)
