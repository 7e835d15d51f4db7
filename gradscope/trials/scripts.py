"""Trial of a script: its source is changed for each remedy, and run in processes of their own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gradscope.check import check_script
from gradscope.errors import CannotApply
from gradscope.program.files import Files, read
from gradscope.report import Report
from gradscope.settings import Settings
from gradscope.trials.forks import Job, Server, servers
from gradscope.trials.outcome import Outcome, Result, Trial
from gradscope.trials.plan import Plan
from gradscope.trials.printed import Measure, chosen, named, numbers_in
from gradscope.trials.race import CONTROL, Finish, Race
from gradscope.trials.rerun import Order
from gradscope.trials.scratch import can_be_copied, copied
from gradscope.trials.verdicts import FINALISTS, Arm, combinable, cured, names_of, order_of, outcome_of, remedies_of
from gradscope.verdict import Remedy

PATIENCE = 4.0
"""A treated program may take so many times as long as it did before."""
SHORTEST_S = 30.0


@dataclass(slots=True)
class Runner:
    """Runs sources of one program, each in a process of its own. longest_s: the longest that the control took."""

    file: Path
    arguments: Sequence[str]
    settings: Settings
    folder: Path
    pool: queue.Queue[Server]
    apart: bool = True
    """Whether each run has a copy of the working directory."""
    longest_s: float = 0.0
    count: int = 0

    def run(self, files: Files, seed: int, *, observed: bool, limit_s: float | None) -> dict[str, Any]:
        """What a run showed: `failure`, and what was printed as `numbers`, or what `observe` gives."""
        self.count += 1
        result = self.folder / f"{self.count}-{seed}-{time.monotonic_ns()}.json"
        printed = result.with_suffix(".txt")
        path, settings = str(self.file.resolve()), asdict(self.settings)
        order = Order(
            path, files.script.text, str(result), tuple(self.arguments), seed, observed, settings, files.overlay()
        )
        server = self.pool.get()
        try:
            copy = copied(Path.cwd(), result.with_suffix(".dir")) if self.apart else None
            why = server.run(Job(order, str(printed), limit_s, str(copy) if copy is not None else None))
            if copy is not None:
                shutil.rmtree(copy, ignore_errors=True)
        finally:
            self.pool.put(server)
        try:
            found: dict[str, Any] = json.loads(result.read_text("utf-8"))
        except (OSError, ValueError):
            return {"failure": why or "ended early"}
        return found | {"numbers": numbers_in(printed.read_text("utf-8", "replace"))}

    @property
    def limit_s(self) -> float | None:
        """How long a treated program may take; None as long as nobody knows how long it took untreated."""
        return max(SHORTEST_S, PATIENCE * self.longest_s) if self.longest_s else None


def try_script(file: Path, arguments: Sequence[str], settings: Settings, plan: Plan) -> Trial:
    """Tries the remedies of a script's verdicts. Raises TargetError for a file that is none, UsageError for a metric
    that is not printed."""
    began = time.monotonic()
    checked = check_script(file, arguments, settings, quiet=True)
    report = checked.report
    before = names_of(report)
    if not before:
        why = report.cannot or "nothing was found: there is nothing to cure"
        return Trial((), (), framework=report.framework, cannot=why, seconds=time.monotonic() - began)
    files = read(file, report.framework or "torch", tuple(arguments))
    arms = arms_of(report, files, plan.only)
    if all(a.files is None for a in arms):
        outcomes = tuple(Outcome(a.remedies, a.verdict, Result.NOT_APPLIED, why=a.why) for a in arms)
        why = "none of its remedies could be written into it" if arms else "its verdicts have no such remedy"
        seconds = time.monotonic() - began
        return Trial(outcomes, before, framework=report.framework, cannot=why, seconds=seconds)
    apart = can_be_copied(Path.cwd())
    jobs = plan.jobs if apart else 1
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (
        tempfile.TemporaryDirectory(prefix="gradscope-") as folder,
        servers(jobs, files.script.text, threads) as pool,
    ):
        runner = Runner(file, arguments, settings, Path(folder), pool, apart)
        return hold(runner, files, arms, before, report, plan, began)


def hold(
    runner: Runner, files: Files, arms: list[Arm], before: tuple[str, ...], report: Report, plan: Plan, began: float
) -> Trial:
    """The race, the second judgement of those that are better, and the best two together."""
    ready = [a for a in arms if a.files is not None]
    started = time.monotonic()
    limit = max(began + plan.budget_s - started, SHORTEST_S)
    first = runner.run(files, 0, observed=False, limit_s=limit)
    if "numbers" not in first:
        why = f"the program as it is {first['failure']}; give a longer --budget"
        return Trial((), before, framework=report.framework, cannot=why, seconds=time.monotonic() - began, runs=1)
    runner.longest_s = time.monotonic() - started
    numbers = first.get("numbers", {})
    measure = chosen(numbers, plan.metric, higher=plan.higher)
    if measure is None and first.get("failure"):
        why = f"the program as it is fails: {first['failure']}"
        return Trial((), before, framework=report.framework, cannot=why, seconds=time.monotonic() - began, runs=1)
    notes: tuple[str, ...] = ()
    observed = measure is None
    if measure is None:
        notes = (f"compared by the training alone, at its losses: the program printed {named(numbers)}",)
        first = runner.run(files, 0, observed=True, limit_s=5 * limit)
        fit = first.get("fit") is not None
        name = "error / that of a constant prediction" if fit else "loss"
        measure = Measure(name, higher=False, occurrence="training")
    run = running(runner, files, ready, measure, observed=observed)
    race = Race(
        run, measure, len(ready), range(plan.seeds), began + plan.budget_s, runner.pool.qsize(), plan.on_progress
    )
    race.favoured = frozenset(n for n, a in enumerate(ready) if a.verdict == ready[0].verdict)
    race.finishes[CONTROL, 0] = finish_of(first, measure)
    race.hold()
    outcomes = [replace(judged_once(race, number, arm), place=number) for number, arm in enumerate(ready)]
    outcomes = again(runner, outcomes, before, race.deadline)
    both = combined(outcomes)
    if both is not None and not race.late:
        outcomes += again(
            runner, [raced_alone(runner, both, files, race, measure, observed=observed)], before, race.deadline
        )
    outcomes += [Outcome(a.remedies, a.verdict, Result.NOT_APPLIED, why=a.why) for a in arms if a.files is None]
    values = {s: f.value for (a, s), f in sorted(race.finishes.items()) if a == CONTROL}
    notes += told_of(runner)
    return Trial(
        tuple(sorted(outcomes, key=order_of)),
        before,
        measure,
        values,
        report.framework,
        time.monotonic() - began,
        runner.count,
        notes=notes,
        files=files,
    )


def told_of(runner: Runner) -> tuple[str, ...]:
    """What one has to know of the runs."""
    if runner.apart:
        return ()
    return ("the working directory is too large to be copied: runs took turns in it, and may have left files",)


def arms_of(report: Report, files: Files, only: Sequence[str] = ()) -> list[Arm]:
    """One arm for each remedy of each verdict and each file that it fits, those of causes before those of consequences;
    each treated program once."""
    arms: list[Arm] = []
    for remedy, verdict in remedies_of(report):
        if only and remedy.name not in only:
            continue
        for arm in arms_with(remedy, verdict, files):
            if arm.files is None or all(arm.files != a.files for a in arms):
                arms.append(arm)
    done = {r.name for a in arms if a.files is not None for r in a.remedies}
    return [a for a in arms if a.files is not None or a.remedies[0].name not in done]


def arms_with(remedy: Remedy, verdict: str, files: Files) -> list[Arm]:
    """The program with a remedy, in each file that it fits; or one arm that says why there is none."""
    if remedy.rewrite is None:
        return [Arm((remedy,), verdict, why="gradscope tells it, and cannot write it into a program by itself")]
    try:
        return [Arm((remedy,), verdict, changed) for changed in files.treated(remedy.rewrite)]
    except CannotApply as reason:
        return [Arm((remedy,), verdict, why=str(reason))]
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        return [Arm((remedy,), verdict, why=f"its rewrite failed: {type(error).__name__}: {error}")]


def running(
    runner: Runner, files: Files, ready: Sequence[Arm], measure: Measure, *, observed: bool
) -> Callable[[int, int], Finish]:
    """What a Race calls."""

    def run(number: int, seed: int) -> Finish:
        treated = files if number == CONTROL else ready[number].files
        assert treated is not None
        started = time.monotonic()
        found = runner.run(treated, seed, observed=observed, limit_s=runner.limit_s)
        if number == CONTROL:
            runner.longest_s = max(runner.longest_s, time.monotonic() - started)
        return finish_of(found, measure)

    return run


def finish_of(found: dict[str, Any], measure: Measure) -> Finish:
    """What a run is worth."""
    if measure.occurrence == "training":
        value = found.get("fit" if measure.name != "loss" else "loss")
    else:
        value = found.get("numbers", {}).get(measure.name)
    failure = found.get("failure")
    if value is None:
        verb = "showed" if measure.occurrence == "training" else "printed"
        return Finish(math.nan, failure or f"{verb} no {measure.name}")
    return Finish(float(value), failure)


def judged_once(race: Race, number: int, arm: Arm) -> Outcome:
    """What the race says of an arm: helps, no effect, worse."""
    failure = race.failure(number)
    why = f"the changed program {failure}" if failure is not None else None
    return outcome_of(arm, race.effect(number), why, stopped=number in race.stopped)


def again(runner: Runner, outcomes: list[Outcome], before: tuple[str, ...], deadline: float) -> list[Outcome]:
    """The outcomes, the best of them and the first that was meant for the cause judged again: those that have no error
    left cure. After the deadline only the best of them is."""
    found = sorted(outcomes, key=order_of)
    helping = [at for at, o in enumerate(found) if o.result is Result.HELPS and o.files is not None]
    cause = min(helping, key=lambda at: found[at].place, default=None)
    for at in dict.fromkeys([*helping[:FINALISTS], *([] if cause is None else [cause])]):
        if at != helping[0] and time.monotonic() > deadline:
            break
        one, limit = found[at], None if runner.limit_s is None else 5 * runner.limit_s
        assert one.files is not None
        seen = runner.run(one.files, 0, observed=True, limit_s=limit)
        if "verdicts" not in seen or seen.get("failure"):
            found[at] = replace(one, why=f"not judged again: {seen.get('failure')}")
            continue
        after = tuple(dict.fromkeys(n for n, severity in seen["verdicts"] if severity != "info"))
        gone = cured(one, before, seen["verdicts"])
        found[at] = replace(one, after=after, result=Result.CURES if gone else Result.HELPS)
    return found


def combined(outcomes: Sequence[Outcome]) -> Arm | None:
    """The best two remedies in one program; None when no two help, or they do not fit together."""
    pair = combinable(outcomes)
    best = min(outcomes, key=order_of, default=None)
    if pair is None or best is None or best.files is None or pair[1].rewrite is None:
        return None
    with contextlib.suppress(CannotApply):
        return next((Arm(pair, best.verdict, both) for both in best.files.treated(pair[1].rewrite)), None)
    return None


def raced_alone(runner: Runner, arm: Arm, files: Files, race: Race, measure: Measure, *, observed: bool) -> Outcome:
    """An arm against the runs of the control that there are."""
    run = running(runner, files, [arm], measure, observed=observed)
    late = Race(run, measure, 1, race.seeds, race.deadline, race.jobs)
    late.finishes = {key: f for key, f in race.finishes.items() if key[0] == CONTROL}
    for seed in [s for a, s in sorted(late.finishes) if a == CONTROL]:
        late.finishes[0, seed] = run(0, seed)
    return judged_once(late, 0, arm)
