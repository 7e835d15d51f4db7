"""Keras on torch under `check`: everything is eager, and gradients come from Tensor.backward()."""

from __future__ import annotations

from typing import Any

import torch
from gradscope.patches import Patches

from gradscope_tensorflow.backend import numbers_in
from gradscope_tensorflow.recorder import Recorder


class TorchBackend:
    """A wrapper around torch.Tensor.backward."""

    scales = True
    """Whether a loss that an optimizer has scaled has a number."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def install(self, patches: Patches) -> None:
        """A forward pass with gradients counts as training."""
        self.recorder.forward.tapes = 1
        patches.wrap(torch.Tensor, "backward", self._backward)

    def close(self) -> None:
        """Nothing was changed but the wrapper."""

    def training(self) -> bool:
        """Whether gradients are recorded."""
        return bool(torch.is_grad_enabled())

    def seen(self, gradients: list[Any]) -> bool:
        """Whether the gradients have numbers."""
        return numbers_in(gradients)

    def step_begins(self, optimizer: Any) -> None:
        """Nothing is to be done."""

    def _backward(self, original: Any) -> Any:
        def backward(loss: Any, *args: Any, **kwargs: Any) -> Any:
            self.recorder.differentiated(loss)
            return original(loss, *args, **kwargs)

        return backward
