"""Trial of a workload: each remedy on a workload of its own, trained afresh and scored on what is held out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradscope.adapter import Adapter
from gradscope.builtin import remedy_sources
from gradscope.check import workload_of
from gradscope.errors import CannotApply, GradscopeError, UsageError
from gradscope.remedy import RemedySource
from gradscope.report import Report
from gradscope.scope import Enough, Scope, adapter_for, installed
from gradscope.script import open_script, silenced
from gradscope.settings import Settings
from gradscope.treatment import treated
from gradscope.trials.outcome import Outcome, Result, Trial
from gradscope.trials.plan import Plan
from gradscope.trials.printed import Measure
from gradscope.trials.race import CONTROL, Finish, Race
from gradscope.trials.seeding import asks, reseed, seeded
from gradscope.trials.verdicts import Arm, combinable, cured, names_of, order_of, outcome_of, remedies_of
from gradscope.verdict import Remedy
from gradscope.workload import Workload

SCALING = frozenset({"scale-target", "loss-scaling"})
"""Remedies that give the loss other units: what they do is measured by the loss as it was."""
Make = Callable[[int], Workload]


def trial(
    workload: Workload,
    remedies: Sequence[Remedy | str] | None = None,
    *,
    seeds: int = 3,
    budget: float = 60.0,
    steps: int = 200,
) -> Trial:
    """Tries remedies on a workload: control and treated arms from the same seeds, so from the same weights and batches.

    remedies: those of its verdicts when None; names stand for those of its verdicts, or for the remedy with its usual
    numbers. seeds: how many. budget: seconds, after which no run is begun. steps: of each run. A model that is given as
    an object is copied, and starts from the same weights with every seed; give a function that builds it for others.

    Raises CannotJudge for a workload without batches, UsageError for one that is wrong or an unknown remedy.
    """
    settings = replace(Settings(), steps=steps)
    return try_workload(lambda _seed: workload, settings, Plan(budget, seeds), remedies)


def try_workload_of(file: Path, settings: Settings, plan: Plan, *, quiet: bool = True) -> Trial:
    """Tries remedies on what the workload() of a file returns, called anew for every run."""
    script = open_script(file)

    def make(seed: int) -> Workload:
        with seeded(seed, moving=not asks([file.read_text("utf-8")])):
            return workload_of(script.load(), file)

    with silenced(quiet):
        return try_workload(make, settings, plan, plan.only or None)


@dataclass(slots=True)
class Trained:
    """One run: its score, and the report on it."""

    loss: float
    metric: float | None
    report: Report


@dataclass(slots=True)
class Trainer:
    """Trains workloads and scores them. reports: of the first seed, by number of the arm."""

    make: Make
    adapter: Adapter
    settings: Settings
    arms: list[Arm] = field(default_factory=list)
    measure: Measure | None = None
    reports: dict[int, Report] = field(default_factory=dict)
    count: int = 0

    def train(self, remedies: Sequence[Remedy], seed: int) -> Trained:
        """The run of a workload with these remedies, one after the other."""
        self.count += 1
        given = self.make(seed)
        workload = given
        for remedy in remedies:
            workload = treated(workload, remedy, self.adapter)
        workload = self.adapter.fresh(workload, seed)
        reseed(seed)  # whatever drawing the weights has taken from the streams: batches are the same
        scope = Scope(self.settings, steps=self.settings.steps)
        with suppress(Enough), self.adapter.session(scope) if seed == 0 else nullcontext():
            self.adapter.train(scope, workload)
        if any(r.name in SCALING for r in remedies):
            workload = replace(workload, loss=given.loss)
        elif workload.loss is not given.loss and given.metric is None:
            raise CannotApply("it changes what the loss means: give the workload a metric to compare by")
        score = self.adapter.evaluate(workload)
        return Trained(score.loss, score.metric, scope.report())

    def run(self, number: int, seed: int) -> Finish:
        """What a Race calls."""
        try:
            done = self.train(() if number == CONTROL else self.arms[number].remedies, seed)
        except CannotApply as reason:
            return Finish(failure=str(reason))
        except Exception as error:
            if number == CONTROL:
                raise
            return Finish(failure=f"raised {type(error).__name__}: {error}")
        if seed == 0:  # the others were not observed
            self.reports[number] = done.report
        return self.finish(done)

    def finish(self, done: Trained) -> Finish:
        """The number that is compared."""
        value = done.metric if self.measure is not None and self.measure.higher else done.loss
        return Finish(math.nan if value is None else float(value))


def try_workload(make: Make, settings: Settings, plan: Plan, wanted: Sequence[Remedy | str] | None = None) -> Trial:
    """The trial. make: gives the workload of a seed."""
    began = time.monotonic()
    first = make(0)
    model = first.model if not callable(first.model) or _known(first.model) else first.model()
    trainer = Trainer(make, installed(adapter_for(model)), settings)
    control = trainer.train((), 0)
    report = control.report
    before = names_of(report)
    trainer.measure = _measure(first, control)
    trainer.reports[CONTROL] = report
    asked = asked_for(wanted, report)
    if not asked:
        why = report.cannot or (
            "no remedy fits its verdicts" if before else "nothing was found: there is nothing to cure"
        )
        return Trial((), before, framework=report.framework, cannot=why, seconds=time.monotonic() - began)
    trainer.arms = [Arm((remedy,), verdict) for remedy, verdict in asked]
    deadline = began + plan.budget_s
    race = Race(trainer.run, trainer.measure, len(trainer.arms), range(plan.seeds), deadline, 1, plan.on_progress)
    race.favoured = frozenset(n for n, a in enumerate(trainer.arms) if a.verdict == trainer.arms[0].verdict)
    race.finishes[CONTROL, 0] = trainer.finish(control)
    race.hold()
    outcomes = [_outcome(trainer, race, number) for number in range(len(trainer.arms))]
    pair = combinable(outcomes)
    if pair is not None and not race.late:
        number = len(trainer.arms)
        trainer.arms.append(Arm(pair, outcomes[0].verdict))
        for seed in [s for a, s in sorted(race.finishes) if a == CONTROL]:
            race.finishes[number, seed] = trainer.run(number, seed)
        outcomes.append(_outcome(trainer, race, number))
    control_values = {s: f.value for (a, s), f in sorted(race.finishes.items()) if a == CONTROL}
    notes = () if first.held_out is not None else ("nothing is held out: compared on the batches of the training",)
    return Trial(
        tuple(sorted(outcomes, key=order_of)),
        before,
        trainer.measure,
        control_values,
        report.framework,
        time.monotonic() - began,
        trainer.count,
        notes=notes,
    )


def _known(model: Any) -> bool:
    """Whether an adapter recognizes the model itself: some are callable."""
    try:
        adapter_for(model)
    except GradscopeError:
        return False
    return True


def _measure(workload: Workload, control: Trained) -> Measure:
    where = "held-out" if workload.held_out is not None else "training"
    if control.metric is not None:
        return Measure(getattr(workload.metric, "__name__", "metric"), higher=True, occurrence=where)
    return Measure("loss", higher=False, occurrence=where)


def asked_for(wanted: Sequence[Remedy | str] | None, report: Report) -> list[tuple[Remedy, str]]:
    """(remedy, the verdict it is for) of those to be tried. Raises UsageError for a name that nobody knows."""
    told = remedies_of(report)
    if wanted is None:
        return told
    asked: list[tuple[Remedy, str]] = []
    for one in wanted:
        if isinstance(one, Remedy):
            asked.append((one, next((v for r, v in told if r.name == one.name), "")))
            continue
        found = [(r, v) for r, v in told if r.name == one]
        asked += found or [(_named(one).asked(), "")]
    return asked


def _named(name: str) -> RemedySource:
    known = {s.name: s for s in remedy_sources()}
    if name not in known:
        raise UsageError(f"unknown remedy {name!r}; known remedies: {', '.join(sorted(known))}")
    return known[name]


def _outcome(trainer: Trainer, race: Race, number: int) -> Outcome:
    """What came of an arm: judged by the report on its first run."""
    arm = trainer.arms[number]
    one = outcome_of(arm, race.effect(number), race.failure(number), stopped=number in race.stopped)
    one = replace(one, place=number)
    report = trainer.reports.get(number)
    if report is None or one.result not in {Result.HELPS, Result.NO_EFFECT, Result.WORSE}:
        return one
    gone = cured(one, names_of(trainer.reports[CONTROL]), [(v.name, str(v.severity)) for v in report.verdicts])
    better = one.result is Result.HELPS
    return replace(one, after=names_of(report), result=Result.CURES if gone and better else one.result)
