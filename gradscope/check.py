"""What `gradscope check` does, for callers that are no terminal: script, workload, cold check."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gradscope.adapter import Adapter
from gradscope.errors import CannotJudge, MissingFramework, ScriptFailed, TargetError
from gradscope.imports import when_imported
from gradscope.plugins import plugins
from gradscope.report import Report
from gradscope.scope import Enough, Scope, adapter_for, installed
from gradscope.script import failing_as_script, open_script, silenced
from gradscope.settings import Settings
from gradscope.workload import Cold, Workload

Progress = Callable[[int], None] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The report, and the user's traceback when their program failed on the way."""

    report: Report
    failure: str | None = None
    scope: Scope | None = None


def parse_target(target: str) -> tuple[Path, str | None]:
    """(file, class) of `FILE` or `FILE::CLASS`. Raises TargetError."""
    file, colons, name = target.partition("::")
    if colons and not name.isidentifier():
        raise TargetError(f"{target!r}: expected FILE.py::CLASS, such as model.py::Net")
    return Path(file), name if colons else None


def check_script(
    file: Path,
    arguments: Sequence[str],
    settings: Settings,
    *,
    quiet: bool = False,
    aside: bool = False,
    on_progress: Progress = None,
    text: str | None = None,
) -> Outcome:
    """Runs a script, or trains the workload that it defines, under observation.

    quiet, aside: what it prints is silenced, or goes to stderr. text: what is run as if it stood in the file. Raises
    TargetError for a file that is none; a script that raises gives an Outcome with its traceback, one that is
    interrupted or leaves with an exit code other than 0 an Outcome that says so.
    """
    script = open_script(file, arguments, text)
    scope = Scope(settings, steps=settings.steps)
    scope.on_progress = on_progress
    how = message = trace = ""
    with silenced(quiet, aside=aside):
        try:
            with everything_observed(scope):
                if script.defines_workload:
                    train_workload(scope, workload_of(script.load(), file), script.path)
                else:
                    ending = script.run(Enough)
                    if ending.code:
                        how, message = f"left with exit code {ending.code}", ending.message
        except ScriptFailed as error:
            how, message, trace = f"raised {type(error.__cause__).__name__}", str(error.__cause__), str(error)
        except KeyboardInterrupt:
            how = "was interrupted"
        except Enough:
            pass
    report = scope.report()
    if not how or scope.had_enough:
        return Outcome(report, None, scope)
    where = f"in {scope.failed_in}" if scope.failed_in else ""
    why = ", ".join(part for part in (f"the script {how} {when(report)}", where) if part)
    why += f": {message.splitlines()[0]}" if message else ""
    failure = "\n".join(part for part in (trace, where) if part) if trace else why
    return Outcome(replace(report, cannot=why, failure=failure), failure, scope)


def when(report: Report) -> str:
    """How many optimizer steps had been seen by then."""
    steps = report.watched["steps"]
    return f"after {steps} optimizer step{'s' if steps != 1 else ''}" if steps else "before any optimizer step"


@contextlib.contextmanager
def everything_observed(scope: Scope) -> Iterator[None]:
    """The sessions of all frameworks that are installed, each from the moment its framework is imported."""
    adapters = [a for a in plugins().adapters() if a.available()]
    if not adapters:
        known = [a.install for a in plugins().adapters()]
        raise MissingFramework("no framework to observe is installed; " + " or ".join(known))
    with contextlib.ExitStack() as sessions, contextlib.ExitStack() as waiting:
        for adapter in adapters:
            opened: list[Any] = []
            begin = partial(open_session, sessions, adapter, scope, opened)
            waiting.enter_context(when_imported(adapter.module, begin))
            for name in adapter.companions:
                waiting.enter_context(when_imported(name, partial(tell, opened, name)))
        yield


def open_session(sessions: contextlib.ExitStack, adapter: Adapter, scope: Scope, opened: list[Any]) -> None:
    """Begins to observe a framework."""
    opened.append(sessions.enter_context(adapter.session(scope)))


def tell(opened: list[Any], name: str) -> None:
    """Tells a session of a library that has been imported."""
    for session in opened:
        session.imported(name)


def workload_of(names: dict[str, Any], file: Path) -> Workload:
    """What the file's workload() returns. Raises TargetError when that is no Workload, ScriptFailed when it raises."""
    with failing_as_script(file):
        made = names["workload"]()
    if not isinstance(made, Workload):
        raise TargetError(f"{file}: workload() must return a gradscope.Workload, got {type(made).__name__}")
    return made


def train_workload(scope: Scope, workload: Workload, file: Path) -> None:
    """Trains a workload with the adapter of its framework. Raises ScriptFailed for what its parts raise."""
    model = workload.model
    adapters = [a for a in plugins().adapters() if a.recognizes(model)]
    with failing_as_script(file):
        if not adapters and callable(model):
            model = model()
            workload = replace(workload, model=model)
        installed(adapter_for(model)).train(scope, workload)


def built(build: Callable[[], Any], where: str) -> Any:
    """The model that a class or function builds. Raises TargetError when it needs arguments or fails."""
    try:
        return build()
    except Exception as error:
        raise TargetError(f"{where}: could not be built without arguments: {type(error).__name__}: {error}") from error


def check_cold(
    file: Path,
    name: str,
    shape: tuple[int, ...],
    classes: int | None,
    settings: Settings,
    *,
    quiet: bool = False,
    aside: bool = False,
) -> Outcome:
    """Builds a model class of a file and judges it at initialization. Raises TargetError or CannotJudge."""
    script = open_script(file)
    scope = Scope(settings)
    with silenced(quiet, aside=aside):
        names = script.load()
        found = names.get(name)
        if found is None:
            known = ", ".join(k for k, v in names.items() if isinstance(v, type)) or "none"
            raise TargetError(f"{file}: defines no {name!r}; classes there: {known}")
        adapter = installed(adapter_for(found if isinstance(found, type) else built(found, f"{file}::{name}")))
        adapter.cold(scope, Cold(lambda: built(found, f"{file}::{name}"), shape, classes))
    if not scope.histories:
        raise CannotJudge(f"{file}::{name}: nothing was observed")
    return Outcome(scope.report(), None, scope)
