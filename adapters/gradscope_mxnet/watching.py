"""watch(): a net of Gluon and its Trainer, in a loop of the user's own. (`watch` itself is the function.)"""

from __future__ import annotations

from typing import Any

from gradscope.errors import CannotJudge, UsageError
from gradscope.schedule import sparse_schedule
from gradscope.scope import Scope
from mxnet import gluon

from gradscope_mxnet.names import Names, parameters_of
from gradscope_mxnet.recorder import Recorder, is_anything_trained
from gradscope_mxnet.source import Sources


class Watch:
    """One watch; close() takes everything away."""

    def __init__(self, scope: Scope, model: Any, trainer: Any):
        models = list(model) if isinstance(model, list | tuple) else [model]
        self.trainers = list(trainer) if isinstance(trainer, list | tuple) else [trainer] if trainer is not None else []
        check_arguments(models, self.trainers)
        names = Names(Sources())
        for one in models:
            names.add_root(one)
        self.models = models
        self.recorder = Recorder(scope, names, sparse_schedule, self._is_ours)
        self.recorder.listen()

    def _is_ours(self, trainer: Any) -> bool:
        if self.trainers:
            return any(trainer is t for t in self.trainers)
        mine = {id(p) for p in self.recorder.names.all_parameters()}
        return any(id(p) in mine for p in trainer._params)

    def flush(self) -> None:
        """Writes what waits, so that the history is up to date."""
        self.recorder.flush()

    def refresh(self) -> None:
        """Writes what waits, so that a report shows everything; harmless at any time."""
        self.recorder.refresh()

    def close(self) -> None:
        """Removes every wrapper."""
        self.recorder.close()


def check_arguments(models: list[Any], trainers: list[Any]) -> None:
    """Raises UsageError for what is no net or Trainer or for a Trainer of another net, CannotJudge for a net without
    parameters."""
    for model in models:
        if not isinstance(model, gluon.Block):
            raise UsageError(f"watch(): expected a mxnet.gluon.Block, got {type(model).__name__} {model!r:.80}")
    for trainer in trainers:
        if not isinstance(trainer, gluon.Trainer):
            raise UsageError(f"watch(): expected a mxnet.gluon.Trainer, got {type(trainer).__name__}")
    kinds = ", ".join(type(m).__name__ for m in models)
    mine = {id(p): p for m in models for p in parameters_of(m)}
    if not is_anything_trained(mine.values()):
        raise CannotJudge(f"watch(): {kinds} has no parameter that requires a gradient; there is nothing to judge")
    for trainer in trainers:
        if not any(id(p) in mine for p in trainer._params):
            raise UsageError(
                f"watch(): this Trainer holds no parameter of the net ({kinds}): was it made for another net, or "
                "before this one was replaced?"
            )
