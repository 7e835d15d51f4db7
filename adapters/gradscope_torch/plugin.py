"""The adapter that gradscope finds. Importing this file does not import torch."""

from __future__ import annotations

import sys
from typing import Any

from gradscope.hookspecs import hookimpl
from gradscope.packaged import Packaged, first_of


class TorchAdapter(Packaged):
    """PyTorch, behind the Adapter protocol."""

    name = "torch"
    install = "pip install 'gradscope-diagnostics[torch]'"
    module = "torch"
    package = "gradscope_torch"
    model = "nn.Module"
    replays = True

    def recognizes(self, thing: Any) -> bool:
        """Whether a model is torch's. On the torch backend a layer of Keras is a module too, and is left to Keras."""
        keras = sys.modules.get("keras")
        if keras is not None and isinstance(first_of(thing), getattr(keras, "Layer", ())):
            return False
        return super().recognizes(thing)


@hookimpl
def gradscope_adapters() -> list[TorchAdapter]:
    """PyTorch."""
    return [TorchAdapter()]
