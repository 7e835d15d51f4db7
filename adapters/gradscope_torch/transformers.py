"""GradscopeCallback for the Trainer of transformers: `Trainer(..., callbacks=[GradscopeCallback()])`."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from gradscope.errors import MissingFramework
from gradscope.report import Report
from gradscope.settings import Settings

from gradscope_torch.fitting import Fitting, Wishes, told

try:
    from tqdm.auto import tqdm
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler
except ModuleNotFoundError as missing:
    raise MissingFramework(
        "transformers is not installed; pip install 'gradscope-diagnostics[transformers]'"
    ) from missing

PART = "the callback of transformers"
NAMES = {"grad_norm_total": "grad_norm"}
"""What the Trainer logs as grad_norm is the same number."""


class GradscopeCallback(TrainerCallback):
    """Watches the model and its optimizer while train() runs, whatever Accelerate wraps around them.

    Metrics are added to what the Trainer logs, at its own logging_steps, and so are in trainer.state.log_history and
    wherever it reports to: gradscope/grad_norm, gradscope/update_ratio_max and so on (see gradscope.metrics);
    gradscope/errors and gradscope/warnings count verdicts.

    stop_on: "error" or "warning" sets control.should_training_stop at the first verdict of the first process that is as
    grave; verdicts are counted after judge_every optimizer steps, more rarely the longer the run. log, log_parameters:
    whether metrics are logged, and those of every parameter. settings, on_nonfinite, on_nonfinite_save: as of
    gradscope.watch(). show: what is called in the first process with the verdicts as text when training ends, by
    default as the Trainer prints its own logs; None shows nothing. callback.report has them at any time.

    The Trainer tells nobody of a train() that raises: its watch is taken away once its error was dealt with, by
    close(), or when train() is called again. Raises UsageError for what cannot be. Nothing of it is saved with a
    checkpoint.
    """

    def __init__(
        self,
        *,
        stop_on: str | None = None,
        judge_every: int = 100,
        log: bool = True,
        log_parameters: bool = False,
        settings: Settings | Mapping[str, Any] | None = None,
        on_nonfinite: str = "report",
        on_nonfinite_save: str | Path | None = None,
        show: Callable[[str], Any] | None = tqdm.write,
    ):
        super().__init__()
        self.wishes = Wishes(settings, on_nonfinite, on_nonfinite_save, stop_on, judge_every, log, log_parameters)
        self.show = show
        self._fitting: Fitting | None = None
        self._begun = 0

    @property
    def report(self) -> Report:
        """The verdicts of the training that runs, or of the last one."""
        return Report(cannot="no train() has begun") if self._fitting is None else self._fitting.report

    def close(self) -> None:
        """Takes the watch away, if it is there; the report stays."""
        if self._fitting is not None:
            self._fitting.end()

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what another process gets, watches nothing yet."""
        return self.__dict__ | {"_fitting": None}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """train() begins: so does a new watch."""
        self.close()
        self._begun = state.global_step
        self._fitting = Fitting(self.wishes, kwargs.get("model"), kwargs.get("optimizer"), NAMES)
        frame = sys._getframe(1)
        weakref.finalize(running(frame) or self, self._fitting.end).atexit = False
        self._fitting.guarded(PART, self._lead)(frame.f_locals.get("self"))

    def _lead(self, handler: Any) -> None:
        """Goes before the callbacks that log, so that what is added here reaches them; the Trainer puts those first."""
        if isinstance(handler, CallbackHandler) and self in handler.callbacks:
            handler.callbacks.remove(self)
            handler.callbacks.insert(0, self)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Judges and stops, after an optimizer step."""
        if self._fitting is not None:
            self._fitting.guarded(PART, self._stepped)(self._fitting, args, state, control)

    def _stepped(self, fitting: Fitting, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        judged = fitting.stepped(state.global_step - self._begun)
        if self.wishes.stop_on and judged and of_the_first(fitting.wants_stop, args.device):
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the metrics of the steps since the last log to what is being logged."""
        if self._fitting is not None and logs is not None:
            self._fitting.guarded(PART, self._log)(self._fitting, state, logs)

    def _log(self, fitting: Fitting, state: TrainerState, logs: dict[str, float]) -> None:
        found = fitting.end() if "train_runtime" in logs else fitting.metrics()
        logs.update(found)
        if state.log_history:
            state.log_history[-1].update(found)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The model is as if never watched, and verdicts are shown."""
        if self._fitting is not None:
            self._fitting.end()
            if self.show is not None and state.is_world_process_zero:
                self._fitting.guarded(PART, self.show)(told(self._fitting.report))


def running(frame: FrameType | None) -> Any:
    """Something that lives as long as the call of train() that a frame is inside of, None where that is not found."""
    while frame is not None:
        if frame.f_code.co_name == "train" and isinstance(frame.f_locals.get("self"), Trainer):
            return frame.f_locals.get("inner_training_loop")
        frame = frame.f_back
    return None


def of_the_first(flag: bool, device: torch.device) -> bool:
    """The flag of the first process, for all of them must stop together, and it is the one that tells why."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return flag
    shared = torch.tensor(float(flag), device=device)
    torch.distributed.broadcast(shared, 0)
    return bool(shared)
