"""watch(model, optimizer) for Keras on torch: everything is eager, so the session's own wrappers do, for the optimizers
that were named, and in full on the steps of the sparse schedule alone."""

from __future__ import annotations

from typing import Any

import torch
from gradscope.schedule import sparse_schedule
from gradscope.scope import Scope

from gradscope_tensorflow.arguments import check_arguments
from gradscope_tensorflow.names import Names
from gradscope_tensorflow.recorder import Recorder
from gradscope_tensorflow.session import Session
from gradscope_tensorflow.source import Sources


class Watch(Session):
    """Wrappers that close() takes away."""

    def __init__(self, scope: Scope, model: Any, optimizer: Any):
        self.models = list(model) if isinstance(model, list | tuple) else [model]
        given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer] if optimizer else []
        self.optimizers = given or [m.optimizer for m in self.models if getattr(m, "optimizer", None) is not None]
        check_arguments(self.models, self.optimizers)
        self.optimizers += [o.inner_optimizer for o in self.optimizers if hasattr(o, "inner_optimizer")]
        names = Names(Sources())
        for one in self.models:
            names.add_root(one)
        super().__init__(scope, Recorder(scope, names, sparse_schedule, norms_of))
        self.__enter__()

    def concerns(self, layer: Any) -> bool:
        """Whether a layer is one of the models', on a step that is looked at."""
        forward = self.recorder.forward
        return forward.active and (bool(forward.stack) or self.names.known(layer))

    def wanted(self, optimizer: Any, gradients: list[Any]) -> bool:
        """Whether an optimizer is one of those that were named."""
        return any(optimizer is o for o in self.optimizers) and super().wanted(optimizer, gradients)

    def flush(self) -> None:
        """Writes the rows that wait."""
        self.recorder.flush()

    def refresh(self) -> None:
        """Writes the rows that wait, and gives everything its final name."""
        self.recorder.refresh()

    def close(self) -> None:
        """Takes the wrappers away."""
        self.__exit__()


def norms_of(gradients: list[Any]) -> Any:
    """The L2 norms of gradients, float64, on their device, shape (len(gradients),)."""
    if not gradients:
        return []
    return torch.stack([torch.linalg.vector_norm(g.detach(), dtype=torch.float64) for g in gradients])
