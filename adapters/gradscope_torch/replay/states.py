"""States: what models keep in themselves and overwrite in a forward pass (the hidden state of a stateful network, the
codes of a quantizer): without what it was before, the pass cannot be run again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

LOOKS = 4
"""So many calls of a model are looked at to learn what it overwrites."""
MOST_BYTES = 64 * 2**20
"""A larger tensor is not copied."""
STATISTICS = (torch.nn.modules.batchnorm._NormBase,)
"""What these overwrite does not change what they put out in training."""


@dataclass(frozen=True, slots=True)
class State:
    """One tensor that a module kept before a call. value: the tensor itself, or a copy where it is written to."""

    owner: torch.nn.Module
    key: str
    value: Tensor
    held: Tensor
    version: int

    @property
    def replaced(self) -> bool:
        """Whether the module keeps another tensor by now."""
        return tensors_kept(self.owner).get(self.key) is not self.held

    @property
    def written(self) -> bool:
        """Whether the tensor has been written to since."""
        return self.held._version != self.version

    def put_back(self) -> None:
        """Gives the module what it kept."""
        value = self.value.detach()
        if self.key in self.owner._buffers:
            self.owner._buffers[self.key] = value
        else:
            vars(self.owner)[self.key] = value


class States:
    """What each model overwrites, learned from its first calls."""

    def __init__(self) -> None:
        self._calls: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()
        self._known: WeakKeyDictionary[torch.nn.Module, dict[tuple[int, str], bool]] = WeakKeyDictionary()
        """By the model: (identity of the module, key) -> whether it is written to in place."""

    def note(self, model: torch.nn.Module) -> list[State]:
        """What a call that begins may overwrite."""
        count = self._calls[model] = self._calls.get(model, 0) + 1
        known = self._known.setdefault(model, {})
        if count > LOOKS and not known:
            return []
        found = []
        for module in model.modules():
            for name, tensor in tensors_kept(module).items():
                copied = True if count <= LOOKS else known.get((id(module), name))
                if copied is not None and not (copied and tensor.nbytes > MOST_BYTES):
                    value = tensor.detach().clone() if copied else tensor
                    found.append(State(module, name, value, tensor, tensor._version))
        return found

    def wrote(self, model: torch.nn.Module, before: list[State]) -> list[State]:
        """The call ended: what it did overwrite."""
        changed = [s for s in before if s.replaced or s.written]
        if self._calls.get(model, 0) <= LOOKS:
            known = self._known.setdefault(model, {})
            for s in changed:
                key = id(s.owner), s.key
                known[key] = known.get(key, False) or s.written
        return changed


def tensors_kept(module: torch.nn.Module) -> dict[str, Any]:
    """The buffers of a module, and the tensors among its attributes; none of statistics."""
    if isinstance(module, STATISTICS):
        return {}
    held = {k: v for k, v in vars(module).items() if isinstance(v, Tensor)}
    held |= {k: v for k, v in module._buffers.items() if v is not None}
    return {k: v for k, v in held.items() if v.is_floating_point() and not v.is_inference()}
