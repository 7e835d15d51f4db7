"""Session: observes whatever a script trains with a Trainer. Hybridized nets run as if they were not."""

from __future__ import annotations

from typing import Any

from gradscope.schedule import every_step
from gradscope.scope import Scope

from gradscope_mxnet.names import Names
from gradscope_mxnet.recorder import Recorder
from gradscope_mxnet.source import Sources


class Session:
    """Everything is heard, from `with` to its end."""

    def __init__(self, scope: Scope):
        names = Names(Sources())
        self.recorder = Recorder(scope, names, every_step, lambda _trainer: True, eager=True, everywhere=True)
        self.recorder.on_step = scope.stepped

    def __enter__(self) -> Session:
        self.recorder.listen()
        return self

    def __exit__(self, *_: Any) -> None:
        self.recorder.close()
