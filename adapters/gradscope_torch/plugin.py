"""The adapter that gradscope finds. Importing this file does not import torch."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

from gradscope.hookspecs import hookimpl
from gradscope.scope import Scope
from gradscope.workload import Cold, Workload


class TorchAdapter:
    """PyTorch, behind the Adapter protocol."""

    name = "torch"
    install = "pip install 'gradscope-diagnostics[torch]'"
    module = "torch"
    companions: tuple[str, ...] = ()

    def available(self) -> bool:
        """Whether torch is installed."""
        return find_spec("torch") is not None

    def recognizes(self, thing: Any) -> bool:
        """Whether a model is torch's, told without importing torch."""
        torch = sys.modules.get("torch")
        if torch is None:
            return False
        one = thing[0] if isinstance(thing, list | tuple) and thing else thing
        keras = sys.modules.get("keras")
        if keras is not None and isinstance(one, getattr(keras, "Layer", ())):
            return False  # on the torch backend a layer of Keras is a module too
        return isinstance(one, torch.nn.Module) or (isinstance(one, type) and issubclass(one, torch.nn.Module))

    def watch(self, scope: Scope, model: Any, optimizer: Any) -> Any:
        """Hooks on a model and its optimizer."""
        from gradscope_torch.watch import Watch

        return Watch(scope, model, optimizer)

    def session(self, scope: Scope) -> Any:
        """A context in which everything that trains is observed."""
        from gradscope_torch.session import Session

        return Session(scope)

    def train(self, scope: Scope, workload: Workload) -> None:
        """Trains a workload, observed, until the scope has enough."""
        from gradscope_torch.trainer import train

        train(scope, workload)

    def cold(self, scope: Scope, target: Cold) -> None:
        """Judges signal propagation of a fresh model on random inputs."""
        from gradscope_torch.cold import cold

        cold(scope, target)


@hookimpl
def gradscope_adapters() -> list[TorchAdapter]:
    """PyTorch."""
    return [TorchAdapter()]
