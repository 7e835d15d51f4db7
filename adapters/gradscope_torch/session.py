"""Session: observes whatever a script trains, through the global hooks of torch."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from gradscope.scope import Scope
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer

from gradscope_torch.names import Names
from gradscope_torch.recorder import Recorder, every_step
from gradscope_torch.source import Sources


class Session:
    """Global hooks on modules, optimizers and functions, from `with` to its end. Compiled models run eagerly in it."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.sources = Sources()
        self.names = Names(self.sources)
        self.recorder = Recorder(scope, self.names, every_step, lambda _optimizer: True)
        self.recorder.on_step = scope.stepped
        self._handles: list[Any] = []
        self._compiling = False

    def __enter__(self) -> Session:
        self.sources.install()
        self._handles = [
            torch_module.register_module_forward_pre_hook(self._enter),
            torch_module.register_module_forward_hook(self.recorder.leave, always_call=True),
            torch_optimizer.register_optimizer_step_pre_hook(self.recorder.step_begins),
            torch_optimizer.register_optimizer_step_post_hook(self.recorder.step_ended),
        ]
        self.recorder.listen()
        self.recorder.push_mode()
        self._compiling = run_eagerly(True)
        return self

    def __exit__(self, *_: Any) -> None:
        run_eagerly(self._compiling)
        self.sources.remove()
        for handle in self._handles:
            handle.remove()
        self.recorder.close()

    def _enter(self, module: torch.nn.Module, _args: Any) -> None:
        if not self.recorder.forward.stack and not self.names.known(module):
            self.names.add_root(module, None, sys._getframe(1))
            self.recorder.survey()
        self.recorder.enter(module)


def run_eagerly(disabled: bool) -> bool:
    """Makes torch.compile a no-op (or undoes that) and says what it was before: hooks inside a graph never fire."""
    variable = "TORCHDYNAMO_DISABLE"
    before = os.environ.get(variable) == "1"
    os.environ[variable] = "1" if disabled else "0"
    dynamo = sys.modules.get("torch._dynamo.config")
    if dynamo is not None:
        dynamo.disable = disabled
    return before
