"""The adapter that gradscope finds. Importing this file imports neither TensorFlow nor Keras."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from gradscope.errors import UsageError
from gradscope.hookspecs import hookimpl
from gradscope.packaged import Packaged, first_of
from gradscope.scope import Scope

WATCHES = {
    "tensorflow": "gradscope_tensorflow.watch",
    "torch": "gradscope_tensorflow.watch_torch",
    "jax": "gradscope_tensorflow.watch_jax",
}


class TensorFlowAdapter(Packaged):
    """TensorFlow and Keras, behind the Adapter protocol."""

    name = "tensorflow"
    install = "pip install 'gradscope-diagnostics[tensorflow]'"
    module = "keras"
    package = "gradscope_tensorflow"
    model = "Layer"

    def available(self) -> bool:
        """Whether Keras and a backend for it are installed."""
        return super().available() and any(find_spec(b) is not None for b in WATCHES)

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


def is_of_torch(optimizer: Any) -> bool:
    """Whether an optimizer, or the first of several, is one of torch itself."""
    return isinstance(first_of(optimizer), sys.modules["torch"].optim.Optimizer)


@hookimpl
def gradscope_adapters() -> list[TensorFlowAdapter]:
    """TensorFlow and Keras."""
    return [TensorFlowAdapter()]
