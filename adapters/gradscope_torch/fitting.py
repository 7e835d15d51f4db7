"""Fitting: one training by a trainer, under watch. What the callbacks of Lightning and transformers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradscope
from gradscope.accidents import accidents_of
from gradscope.diagnosis import check_settings
from gradscope.errors import UsageError
from gradscope.guard import guarded
from gradscope.logbook import PREFIX, lead_of
from gradscope.metrics import counted, next_count, points_after
from gradscope.plugins import plugins
from gradscope.report import Report
from gradscope.reporters.text import closing, verdict_blocks
from gradscope.scope import Scope, settings_of
from gradscope.settings import Settings
from gradscope.verdict import Severity

from gradscope_torch.watch import Watch


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a callback was asked for. Raises UsageError, before any training, for what cannot be."""

    settings: Settings | Mapping[str, Any] | None
    on_nonfinite: str
    on_nonfinite_save: str | Path | None
    stop_on: str | None
    judge_every: int
    log: bool
    log_parameters: bool

    def __post_init__(self) -> None:
        accidents_of(self.on_nonfinite, self.on_nonfinite_save)
        check_settings(settings_of(self.settings), plugins())
        if self.stop_on not in {None, "error", "warning"}:
            raise UsageError(f"stop_on={self.stop_on!r}; expected 'error', 'warning' or None")
        if not isinstance(self.judge_every, int) or self.judge_every < 1:
            raise UsageError(f"judge_every={self.judge_every!r}; expected a whole number of steps, 1 or more")

    def watch(self, model: Any, optimizers: Any) -> Scope:
        """A scope of the model and its optimizers."""
        return gradscope.watch(
            model,
            optimizers,
            settings=self.settings,
            on_nonfinite=self.on_nonfinite,
            on_nonfinite_save=self.on_nonfinite_save,
        )


class Fitting:
    """One training: what is new to log, whether it is to be stopped, and its report. It never raises."""

    def __init__(self, wishes: Wishes, model: Any, optimizers: Any, names: Mapping[str, str]):
        """names: the beginnings of keys of gradscope.metrics, and what the trainer's users call them."""
        self.wishes = wishes
        self.names = names
        self.scope: Scope | None = None
        self.problems: dict[str, str] = {}
        self.ended = False
        self._last: dict[int, int] = {}
        self._next = next_count(0, wishes.judge_every)
        self._counts: dict[str, float] = {}
        self._stop = False
        guarded("watch()", self.problems, self._begin)(model, optimizers)

    def _begin(self, model: Any, optimizers: Any) -> None:
        self.scope = self.wishes.watch(model, optimizers)

    def guarded(self, part: str, action: Callable[..., Any]) -> Callable[..., None]:
        """The action, whose error is told in the report and switches it off."""
        return guarded(part, self.problems if self.scope is None else self.scope.limits, action)

    def evaluated(self, optimizer: Any) -> None:
        """The closure of a step was called. Raises NonFiniteError when that was asked for, and nothing else."""
        if self.scope is not None and isinstance(self.scope.watched, Watch):
            self.scope.watched.evaluated(optimizer)

    def stepped(self, steps: int) -> bool:
        """So many optimizer steps were taken: verdicts are counted now and then, in all processes at the same step.
        Whether it is such a step."""
        if steps < self._next:
            return False
        self._next = next_count(steps, self.wishes.judge_every)
        if self.scope is not None:
            self.guarded("verdicts on the way", self._judge)(self.scope)
        return True

    def _judge(self, scope: Scope) -> None:
        report = scope.report()
        self._counts = counted(report)
        if self.wishes.stop_on is not None:
            worst = report.worst()
            self._stop = worst is not None and worst.rank <= Severity(self.wishes.stop_on).rank

    @property
    def wants_stop(self) -> bool:
        """Whether a verdict was reached that stops the training."""
        return self._stop

    def metrics(self) -> dict[str, float]:
        """The newest value of each metric that was measured since the last call, by its final key."""
        found: dict[str, float] = {}
        if self.scope is not None and self.wishes.log:
            self.guarded("metrics for the trainer", self._collect)(self.scope, found)
        return found

    def _collect(self, scope: Scope, found: dict[str, float]) -> None:
        if scope.watched is not None:
            scope.watched.flush()
        for number, history in enumerate(scope.histories):
            lead = lead_of(history, first=not number)
            for point in points_after(history, self._last.get(number, -1), each=self.wishes.log_parameters):
                self._last[number] = point.step
                found |= {lead + self.named(key): value for key, value in point.values.items()}
        if found:
            found |= {PREFIX + key: value for key, value in self._counts.items()}
            self._counts = {}

    def named(self, key: str) -> str:
        """A key as the trainer's users know it."""
        known = next((k for k in self.names if key.startswith(k)), "")
        return self.names.get(known, "") + key.removeprefix(known)

    @property
    def report(self) -> Report:
        """The verdicts so far."""
        if self.scope is None:
            return Report(cannot="; ".join(self.problems.values()))
        return self.scope.report()

    def end(self) -> dict[str, float]:
        """Takes the watch away, if it is there; gives what is left to log, with the final count of verdicts."""
        if self.ended or self.scope is None:
            self.ended = True
            return {}
        self.ended = True
        self.guarded("verdicts at the end", self._judge)(self.scope)
        left = self.metrics() or {PREFIX + key: value for key, value in self._counts.items() if self.wishes.log}
        guarded("close()", self.scope.limits, self.scope.close)()
        return left


def told(report: Report) -> str:
    """What is worth printing where somebody trains: verdicts, what failed, and the status in one line."""
    blocks = ["\n".join(lines) for lines in verdict_blocks(report)]
    *rest, status = closing(replace(report, not_judged=()))
    return "\n".join([*(f"{b}\n" for b in blocks), *rest, f"gradscope: {status}"])
