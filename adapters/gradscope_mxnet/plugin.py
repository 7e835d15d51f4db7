"""The adapter that gradscope finds. Importing this file does not import MXNet."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

from gradscope.errors import UsageError
from gradscope.hookspecs import hookimpl
from gradscope.scope import Scope
from gradscope.workload import Cold, Workload


class MXNetAdapter:
    """MXNet's Gluon, behind the Adapter protocol."""

    name = "mxnet"
    install = "pip install -c constraints-mxnet.txt 'gradscope-diagnostics[mxnet]'"
    module = "mxnet"
    companions: tuple[str, ...] = ()

    def available(self) -> bool:
        """Whether MXNet is installed."""
        return find_spec("mxnet") is not None

    def recognizes(self, thing: Any) -> bool:
        """Whether a model is Gluon's, told without importing MXNet."""
        mxnet = sys.modules.get("mxnet")
        if mxnet is None:
            return False
        one = thing[0] if isinstance(thing, list | tuple) and thing else thing
        return isinstance(one, mxnet.gluon.Block) or (isinstance(one, type) and issubclass(one, mxnet.gluon.Block))

    def watch(self, scope: Scope, model: Any, optimizer: Any) -> Any:
        """Observes a net and its Trainer."""
        from gradscope_mxnet.watching import Watch

        return Watch(scope, model, optimizer)

    def session(self, scope: Scope) -> Any:
        """A context in which every Trainer that steps is observed."""
        from gradscope_mxnet.session import Session

        return Session(scope)

    def train(self, scope: Scope, workload: Workload) -> None:
        """Trains a workload, observed, until the scope has enough."""
        from gradscope_mxnet.trainer import train

        train(scope, workload)

    def cold(self, _scope: Scope, _target: Cold) -> None:
        """Raises UsageError: a net is judged while it trains."""
        raise UsageError("a net of MXNet is not judged at initialization: check its training script, or watch() it")


@hookimpl
def gradscope_adapters() -> list[MXNetAdapter]:
    """MXNet."""
    return [MXNetAdapter()]
