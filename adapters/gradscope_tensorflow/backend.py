"""What a session must know of the backend that Keras runs on: how gradients come to be, and what to run eagerly."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from gradscope.errors import CannotJudge
from gradscope.patches import Patches

from gradscope_tensorflow.arrays import host, is_eager

BACKENDS = {"tensorflow": "TensorFlowBackend", "torch": "TorchBackend", "jax": "JaxBackend"}


class Backend(Protocol):
    """One backend under `check`."""

    scales: bool
    """Whether a loss has a number when an optimizer scales it."""

    def install(self, patches: Patches) -> None:
        """Wraps what computes gradients, and has everything run eagerly."""

    def close(self) -> None:
        """Puts the mode of execution back."""

    def training(self) -> bool:
        """Whether what runs now belongs to a training step."""

    def seen(self, gradients: list[Any]) -> bool:
        """Whether the gradients have numbers, so that this step can be observed."""

    def step_begins(self, optimizer: Any) -> None:
        """A step that is observed begins."""


def backend_of(name: str) -> Any:
    """The class of a backend. Raises CannotJudge for one that cannot be observed."""
    if name not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise CannotJudge(f"Keras runs on {name}, where no training can be observed; backends known here: {known}")
    return getattr(import_module(f"gradscope_tensorflow.backend_{name}"), BACKENDS[name])


def numbers_in(gradients: list[Any]) -> bool:
    """Whether all gradients have numbers: an IndexedSlices has, when its values do."""
    return all(
        is_eager(getattr(g, "values", g) if hasattr(g, "dense_shape") else g) for g in gradients if g is not None
    )


def scale_of(optimizer: Any) -> float | None:
    """What an optimizer multiplies losses by; None when it leaves them as they are."""
    if hasattr(optimizer, "inner_optimizer"):
        return float(host(optimizer.dynamic_scale)) if optimizer.built else float(optimizer.initial_scale)
    factor = getattr(optimizer, "loss_scale_factor", None)
    return None if factor is None else float(factor)
