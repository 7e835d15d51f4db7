"""GradscopeCallback for Lightning: `Trainer(callbacks=[GradscopeCallback()])`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradscope.errors import MissingFramework
from gradscope.report import Report
from gradscope.settings import Settings

from gradscope_torch.fitting import Fitting, Wishes, told

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError as missing:
    raise MissingFramework("lightning is not installed; pip install 'gradscope-diagnostics[lightning]'") from missing

PART = "the callback of Lightning"
LOGGERS = "metrics for the loggers of Lightning"
NAMES = {"grad_norm_total": "grad_2.0_norm_total", "grad_norm/": "grad_2.0_norm/"}
"""What lightning.pytorch.utilities.grad_norm calls them."""


class GradscopeCallback(Callback):
    """Watches the module and all of its optimizers while fit() trains; sanity validation is not seen.

    Metrics go to every logger of the trainer, at its own log_every_n_steps, as gradscope/grad_2.0_norm_total,
    gradscope/update_ratio_max and so on (see gradscope.metrics); gradscope/errors and gradscope/warnings count the
    verdicts.

    stop_on: "error" or "warning" sets trainer.should_stop at the first verdict of rank zero that is as grave; verdicts
    are counted after judge_every optimizer steps, more rarely the longer the run. log, log_parameters: whether metrics
    are logged, and those of every parameter. settings, on_nonfinite, on_nonfinite_save: as of gradscope.watch(). show:
    what is called on rank zero with the verdicts as text when training ends or fails, by default the module's own
    print(); None shows nothing. callback.report has them at any time.

    Raises UsageError for what cannot be. Nothing of it is saved with a checkpoint.
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
        show: Callable[[str], Any] | str | None = "print",
    ):
        super().__init__()
        self.wishes = Wishes(settings, on_nonfinite, on_nonfinite_save, stop_on, judge_every, log, log_parameters)
        self.show = show
        self._fitting: Fitting | None = None
        self._begun = self._steps = 0

    @property
    def report(self) -> Report:
        """The verdicts of the fit that runs, or of the last one."""
        return Report(cannot="no fit() has begun") if self._fitting is None else self._fitting.report

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what another process gets, watches nothing yet."""
        return self.__dict__ | {"_fitting": None}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """fit() begins to train: so does a new watch."""
        self._end()
        self._begun = self._steps = trainer.global_step
        self._fitting = Fitting(self.wishes, pl_module, list(trainer.optimizers), NAMES)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Looks whether the step is finite: Lightning runs the backward pass inside of it, as a closure."""
        if self._fitting is not None:
            self._fitting.evaluated(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs, judges and stops, after a batch that made a step."""
        if self._fitting is not None and trainer.global_step != self._steps:
            self._steps = trainer.global_step
            self._fitting.guarded(PART, self._stepped)(trainer, self._fitting)

    def _stepped(self, trainer: Trainer, fitting: Fitting) -> None:
        judged = fitting.stepped(self._steps - self._begun)
        if self.wishes.stop_on and judged and trainer.strategy.broadcast(fitting.wants_stop, src=0):
            trainer.should_stop = True
        every, at = trainer.log_every_n_steps, batches_of(trainer)
        if trainer.should_stop or (every and (at + 1) % every == 0):
            fitting.guarded(LOGGERS, log)(trainer, fitting.metrics(), at)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module is as if never watched, and verdicts are shown."""
        if self._fitting is not None and not self._fitting.ended:
            left = self._fitting.end()
            self._fitting.guarded(LOGGERS, log)(trainer, left, max(batches_of(trainer) - 1, 0))
            self._fitting.guarded("what is shown", self._show)(trainer, pl_module, self._fitting)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The same for a fit() that fails, or that is interrupted."""
        self.on_train_end(trainer, pl_module)

    def _show(self, trainer: Trainer, pl_module: LightningModule, fitting: Fitting) -> None:
        if self.show is not None and trainer.is_global_zero:
            show = self.show if callable(self.show) else pl_module.print
            show(told(fitting.report))

    def _end(self) -> None:
        if self._fitting is not None:
            self._fitting.end()


def log(trainer: Trainer, values: Mapping[str, float], step: int) -> None:
    """Hands metrics to all loggers, as the callbacks of Lightning do."""
    if values:
        for logger in trainer.loggers:
            logger.log_metrics(dict(values), step=step)


def batches_of(trainer: Trainer) -> int:
    """How many batches made a step: the axis of everything that Lightning logs, whatever the number of optimizers."""
    return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))
