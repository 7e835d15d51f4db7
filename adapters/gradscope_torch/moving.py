"""Moving statistics of the modules that ran in training mode, and which of them never moved."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from gradscope.moving import moving, never_moved

from gradscope_torch.names import Names


class Moving:
    """The modules with moving statistics that ran in training mode. It keeps none of them alive."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, dict[str, Any]]] = {}

    def ran(self, module: torch.nn.Module) -> None:
        """A module ended its forward."""
        if not module.training or isinstance(module, torch.jit.ScriptModule):
            return  # the buffers of a script are made anew whenever they are looked at
        held = {name: module._buffers[name] for name in moving(module._buffers)}
        found = {name: weakref.ref(buffer) for name, buffer in held.items() if buffer is not None}
        if found:
            self._seen[id(module)] = weakref.ref(module), found

    def unmoved(self, names: Names) -> list[tuple[str, str]]:
        """(name, name of the module) of those that never moved; none of a module that ran with the buffers of another,
        as torch.func.functional_call has it."""
        found: list[tuple[str, str]] = []
        for reference, buffers in self._seen.values():
            module = reference()
            if module is None or not names.known(module):
                continue
            held = {name: module._buffers.get(name) for name in buffers}
            if all(held[name] is buffer() for name, buffer in buffers.items()) and never_moved(numbers(held)):
                path = names.module(module)
                found += [(f"{path}.{name}" if path else name, path) for name in buffers]
        return found


def numbers(buffers: dict[str, Any]) -> dict[str, Any]:
    """The buffers as arrays of the host."""
    return {name: buffer.detach().float().cpu().numpy() for name, buffer in buffers.items()}
