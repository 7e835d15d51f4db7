"""Session: observes whatever a script trains, through the global hooks of torch."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

import torch
from gradscope.guard import guarded
from gradscope.schedule import every_step
from gradscope.scope import Scope
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer

from gradscope_torch.failure import failed_in
from gradscope_torch.hook import hearing
from gradscope_torch.names import Names
from gradscope_torch.recorder import Recorder
from gradscope_torch.replay.capture import PART
from gradscope_torch.replay.places import kwargs_of
from gradscope_torch.source import Sources

VARIABLE = "TORCHDYNAMO_DISABLE"


class Session:
    """Global hooks on modules, optimizers and functions, from `with` to its end. Compiled models run eagerly in it."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.sources = Sources()
        self.names = Names(self.sources)
        self.recorder = Recorder(scope, self.names, every_step, lambda _optimizer: True)
        self.recorder.on_step = scope.stepped
        self._capture = guarded(PART, scope.failures, self._keep)
        self._handles: list[Any] = []
        self._eager: tuple[str | None, bool | None] = (None, None)

    def __enter__(self) -> Session:
        self.sources.install()
        self._handles = [
            torch_module.register_module_forward_pre_hook(self._enter),
            torch_module.register_module_forward_hook(self._leave, always_call=True),
            torch_optimizer.register_optimizer_step_pre_hook(self.recorder.step_begins),
            torch_optimizer.register_optimizer_step_post_hook(self.recorder.step_ended),
        ]
        self.recorder.listen()
        self.recorder.mode.push()
        self._eager = run_eagerly()
        return self

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        guarded("torch failure", self.scope.failures, self._look_at)(error)
        restore_compiling(self._eager)
        self.sources.remove()
        for handle in self._handles:
            handle.remove()
        self.recorder.close()

    def _look_at(self, error: BaseException | None) -> None:
        self.scope.failed_in = failed_in(error, self.names) or self.scope.failed_in

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        if hearing.off:
            return
        if not self.recorder.forward.stack:
            self.recorder.meet(module, sys._getframe(1))
        self.recorder.enter(module)
        self._capture(module, args, sys._getframe(1))

    def _keep(self, module: torch.nn.Module, args: Any, frame: FrameType) -> None:
        capture = self.recorder.capture
        if capture.inside or any(True for _ in module.parameters()):
            capture.enter(module, args, kwargs_of(frame))

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if hearing.off:
            return
        self.recorder.leave(module, args, output)
        self.recorder.capture.leave(module, output)


def run_eagerly() -> tuple[str | None, bool | None]:
    """Makes torch.compile a no-op, for hooks inside a graph never fire; gives what restore_compiling() wants."""
    dynamo = sys.modules.get("torch._dynamo.config")
    before = (os.environ.get(VARIABLE), dynamo.disable if dynamo is not None else None)
    os.environ[VARIABLE] = "1"
    if dynamo is not None:
        dynamo.disable = True  # type: ignore[attr-defined]
    return before


def restore_compiling(before: tuple[str | None, bool | None]) -> None:
    """Undoes run_eagerly(), also where torch._dynamo was imported only in between."""
    variable, disabled = before
    if variable is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = variable
    dynamo = sys.modules.get("torch._dynamo.config")
    if dynamo is not None:
        dynamo.disable = variable == "1" if disabled is None else disabled  # type: ignore[attr-defined]
