"""The adapter that gradscope finds. Importing this file imports neither TensorFlow nor Keras."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from gradscope.errors import UsageError
from gradscope.hookspecs import hookimpl
from gradscope.scope import Scope
from gradscope.workload import Cold, Workload

WATCHES = {
    "tensorflow": "gradscope_tensorflow.watch",
    "torch": "gradscope_tensorflow.watch_torch",
    "jax": "gradscope_tensorflow.watch_jax",
}


class TensorFlowAdapter:
    """TensorFlow and Keras, behind the Adapter protocol."""

    name = "tensorflow"
    install = "pip install 'gradscope-diagnostics[tensorflow]'"
    module = "keras"
    companions: tuple[str, ...] = ()

    def available(self) -> bool:
        """Whether Keras and a backend for it are installed."""
        return find_spec("keras") is not None and any(find_spec(b) is not None for b in WATCHES)

    def recognizes(self, thing: Any) -> bool:
        """Whether a model is Keras', told without importing it."""
        keras = sys.modules.get("keras")
        if keras is None:
            return False
        one = thing[0] if isinstance(thing, list | tuple) and thing else thing
        return isinstance(one, keras.Layer) or (isinstance(one, type) and issubclass(one, keras.Layer))

    def watch(self, scope: Scope, model: Any, optimizer: Any) -> Any:
        """Observes a model and its optimizer. Raises UsageError when Keras runs on what cannot be watched."""
        backend = sys.modules["keras"].backend.backend()
        if backend == "torch" and is_of_torch(optimizer):
            from gradscope_torch.watch import Watch as TorchWatch

            return TorchWatch(scope, model, optimizer)
        if backend not in WATCHES:
            raise UsageError(f"watch(): Keras runs on {backend}; it is watched on {', '.join(WATCHES)}")
        return import_module(WATCHES[backend]).Watch(scope, model, optimizer)

    def listen(self, scope: Scope) -> Any:
        """Observes what is differentiated by the tapes of a scope that watches no model."""
        from gradscope_tensorflow.watch import Watch

        return Watch(scope)

    def session(self, scope: Scope) -> Any:
        """A context in which everything that trains is observed."""
        from gradscope_tensorflow.session import Session

        return Session(scope)

    def train(self, scope: Scope, workload: Workload) -> None:
        """Trains a workload, observed, until the scope has enough."""
        from gradscope_tensorflow.trainer import train

        train(scope, workload)

    def cold(self, scope: Scope, target: Cold) -> None:
        """Judges signal propagation of a fresh model on random inputs."""
        from gradscope_tensorflow.cold import cold

        cold(scope, target)


def is_of_torch(optimizer: Any) -> bool:
    """Whether an optimizer, or the first of several, is one of torch itself."""
    one = optimizer[0] if isinstance(optimizer, list | tuple) and optimizer else optimizer
    return isinstance(one, sys.modules["torch"].optim.Optimizer)


@hookimpl
def gradscope_adapters() -> list[TensorFlowAdapter]:
    """TensorFlow and Keras."""
    return [TensorFlowAdapter()]
