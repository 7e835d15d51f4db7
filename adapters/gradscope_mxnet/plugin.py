"""The adapter that gradscope finds. Importing this file does not import MXNet."""

from __future__ import annotations

from typing import Any

from gradscope.errors import UsageError
from gradscope.hookspecs import hookimpl
from gradscope.packaged import Packaged
from gradscope.scope import Scope
from gradscope.workload import Cold


class MXNetAdapter(Packaged):
    """MXNet's Gluon, behind the Adapter protocol."""

    name = "mxnet"
    install = "pip install -c constraints-mxnet.txt 'gradscope-diagnostics[mxnet]'"
    module = "mxnet"
    package = "gradscope_mxnet"
    model = "gluon.Block"

    def watch(self, scope: Scope, model: Any, optimizer: Any) -> Any:
        """Observes a net and its Trainer."""
        from gradscope_mxnet.watching import Watch

        return Watch(scope, model, optimizer)

    def cold(self, _scope: Scope, _target: Cold) -> None:
        """Raises UsageError: a net is judged while it trains."""
        raise UsageError("a net of MXNet is not judged at initialization: check its training script, or watch() it")


@hookimpl
def gradscope_adapters() -> list[MXNetAdapter]:
    """MXNet."""
    return [MXNetAdapter()]
