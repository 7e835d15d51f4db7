"""Scope: the live object in a training loop. watch(), observe(), log(), report(), close()."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from gradscope.accidents import Accidents, accidents_of
from gradscope.adapter import Adapter, TakesLosses, Watched
from gradscope.arrays import Arrays, number, whole
from gradscope.diagnosis import check_settings, diagnose
from gradscope.errors import MissingFramework, UsageError
from gradscope.guard import guarded
from gradscope.history import DEFAULT_BUDGET, RUN, History
from gradscope.logbook import Logbook, writer_of
from gradscope.plugins import plugins
from gradscope.report import Report
from gradscope.settings import Settings, find_pyproject, load_settings

METRICS = "metrics for log_to"


class Scope:
    """What is observed of one training, and the way to its report.

    Use it as a context manager, or call close(). Everything it notes fits into `budget` bytes, however long the run.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        budget: int = DEFAULT_BUDGET,
        steps: int | None = None,
        accidents: Accidents | None = None,
        log_to: Any = None,
        log_parameters: bool = False,
    ):
        self.settings = settings or Settings()
        self.accidents = accidents or Accidents()
        self.budget = budget
        self.histories: list[History] = []
        self.failures: dict[str, str] = {}
        self.limits: dict[str, str] = {}
        self.watched: Watched | None = None
        self.last_objective: Any = None
        self.limit = steps
        self.had_enough = False
        self.failed_in = ""
        self.skipped_steps = 0
        """Steps that on_nonfinite="skip" withheld."""
        self.on_progress: Any = None
        self._arrays: Arrays | None = None
        self._logged: float | None = None
        self._logbook = None if log_to is None else Logbook(writer_of(log_to), self._judge, each=log_parameters)

    # -- what adapters call ----------------------------------------------------------------------------------------

    def new_history(self, objective: str, **facts: Any) -> History:
        """A history for one more objective (optimizer) of this scope."""
        history = History(budget=self.budget, objective=objective, **facts)
        history.facts["limits"] = self.limits
        if self._logbook is not None:
            history.on_rows = guarded(METRICS, self.limits, self._logbook.written)
        self.histories.append(history)
        return history

    def take_logged(self) -> float | None:
        """The loss that was logged before the step that is being recorded, once; None when there is none."""
        value, self._logged = self._logged, None
        return value

    def stepped(self, steps: int) -> None:
        """Called after each optimizer step with the count of steps; ends an observation that has a limit."""
        if self.on_progress is not None:
            self.on_progress(steps)
        if self.limit is not None and steps >= self.limit:
            self.had_enough = True
            raise Enough

    # -- what users call -------------------------------------------------------------------------------------------

    def log(self, *, loss: Any) -> None:
        """Adds the loss of the step that comes, or that was just taken. Anything that float() takes.

        It belongs to the last step when that has no loss yet, else to the next one.
        """
        value = number("log(): loss", loss)
        if self.watched is not None:
            if isinstance(self.watched, TakesLosses) and self.watched.log(value):
                return
            self.watched.flush()
        waiting = [h["step"] for h in self.histories if lacks_loss(h)]
        for table in waiting:
            bad = float(not math.isfinite(value))
            table.record(int(table.steps[-1]), {"loss": {RUN: value}, "loss_nonfinite": {RUN: bad}})
        self._logged = None if waiting else value

    def observe(
        self,
        *,
        step: int,
        gradients: Mapping[str, ArrayLike | None] | None = None,
        parameters: Mapping[str, ArrayLike] | None = None,
        loss: float | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """Notes one step from plain arrays, of any origin.

        gradients: name -> array, or None for a parameter that got none. parameters: name -> array, after the step; the
        update is measured against those of the last call. Names are dotted, in order of depth when that is known.
        Raises UsageError for steps that do not ascend and for what is no number or holds none.
        """
        step = whole("observe(): step", step)
        loss = None if loss is None else number("observe(): loss", loss)
        learning_rate = None if learning_rate is None else number("observe(): learning_rate", learning_rate)
        if self._arrays is None:
            self._arrays = Arrays(self.new_history("arrays", framework="numpy"), self.take_logged)
        self._arrays.note(step, gradients, parameters, loss, learning_rate)
        self._arrays.history.rows_written()

    def tape(self, **options: Any) -> Any:
        """A tf.GradientTape whose gradients this scope observes; options are those of tf.GradientTape.

        Raises UsageError when the watched model is not TensorFlow's, MissingFramework without TensorFlow.
        """
        if self.watched is None:
            adapter: Any = next((a for a in plugins().adapters() if hasattr(a, "listen")), None)
            if adapter is None:
                raise UsageError("tape(): no adapter here has gradient tapes")
            installed(adapter)
            self.watched = adapter.listen(self)
        make = getattr(self.watched, "tape", None)
        if make is None:
            raise UsageError("tape(): only what runs on TensorFlow has gradient tapes; the watched model does not")
        return make(**options)

    def report(self) -> Report:
        """The verdicts on everything seen so far; can be asked for at any time."""
        if self.watched is not None:
            self.watched.refresh()
        return self._judge()

    def _judge(self) -> Report:
        """The verdicts on what was written."""
        unread = self.limits.get("steps")
        return diagnose(self.histories, self.settings, plugins(), failures=self.failures, unread=unread)

    def close(self) -> None:
        """Removes every trace from model, optimizer and framework; report() still works."""
        if self.watched is not None:
            watched, self.watched = self.watched, None
            watched.close()
        if self._logbook is not None:
            guarded(METRICS, self.limits, self._logbook.close)()

    def __enter__(self) -> Scope:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Enough(BaseException):
    """Raised out of the last observed optimizer step; not an Exception, so that a script's own handlers let it by."""


def lacks_loss(history: History) -> bool:
    """Whether there is a last step, and its loss is not known."""
    table = history["step"]
    if not len(table):
        return False
    return math.isnan(table.series("loss", RUN)[-1]) and table.series("loss_nonfinite", RUN)[-1] != 1


def watch(
    model: Any = None,
    optimizer: Any = None,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    budget: int = DEFAULT_BUDGET,
    on_nonfinite: str = "report",
    on_nonfinite_save: str | Path | None = None,
    log_to: Any = None,
    log_parameters: bool = False,
) -> Scope:
    """Observes a model and its optimizer in a loop of one's own; nothing else in the loop changes.

    model: a model of a supported framework, or a list of them. optimizer: its optimizer, or a list; without one every
    optimizer that holds the model's parameters is observed. settings: as in [tool.gradscope]; by default those of the
    nearest pyproject.toml. budget: bytes that the history may take. Without arguments, a Scope for observe().

    on_nonfinite: what is done about a step whose loss or gradient is not finite, before the weights change. "report"
    finds out where it was born; "skip" does, and leaves weights and optimizer state as they were; "raise" does, and
    raises NonFiniteError; "ignore" keeps nothing for it. on_nonfinite_save: a folder that the first such step is saved
    in, for `gradscope replay`.

    log_to: where gradient norms, update ratios and the count of verdicts are charted (see gradscope.metrics), as they
    are written: a SummaryWriter, a run of Weights & Biases, or a function of (values, step). log_parameters: the norm
    and ratio of every parameter too.

    Raises UsageError for what no adapter recognizes and for arguments and settings that are wrong, CannotJudge for a
    model without parameters.
    """
    accidents = accidents_of(on_nonfinite, on_nonfinite_save)
    if model is None and optimizer is not None:
        raise UsageError(
            "watch(): an optimizer without its model; expected watch(model, optimizer), watch(model) or watch()"
        )
    chosen = settings_of(settings)
    check_settings(chosen, plugins())
    scope = Scope(chosen, budget=budget, accidents=accidents, log_to=log_to, log_parameters=log_parameters)
    if model is not None:
        adapter = adapter_for(model)
        accidents.check_offered(adapter)
        scope.watched = adapter.watch(scope, model, optimizer)
    return scope


def settings_of(given: Settings | Mapping[str, Any] | None) -> Settings:
    """Settings from what the caller gave, or from the nearest pyproject.toml."""
    from gradscope.settings import parse_settings

    if isinstance(given, Settings):
        return given
    if given is None:
        return load_settings(find_pyproject(Path.cwd()))
    return parse_settings(dict(given), where="settings")


def adapter_for(thing: Any) -> Adapter:
    """The adapter that recognizes a model. Raises UsageError, naming the frameworks there are."""
    adapters: list[Adapter] = plugins().adapters()
    for adapter in adapters:
        if adapter.recognizes(thing):
            return adapter
    known = ", ".join(a.name for a in adapters) or "none"
    what = getattr(thing, "__name__", type(thing).__name__)
    raise UsageError(f"no adapter recognizes {what!r} ({type(thing)!r}); frameworks known here: {known}")


def installed(adapter: Adapter) -> Adapter:
    """The adapter itself. Raises MissingFramework with the command that installs its framework."""
    if not adapter.available():
        raise MissingFramework(f"{adapter.name} is not installed; {adapter.install}")
    return adapter
