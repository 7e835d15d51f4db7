"""RootHooks: the two hooks that stay on each watched model, so that the call which led to a loss can be made again."""

from __future__ import annotations

from typing import Any

import torch
from gradscope.guard import guarded

from gradscope_torch import compiling
from gradscope_torch.compiling import Passage, take_away
from gradscope_torch.hook import Hook
from gradscope_torch.replay.capture import PART, Capture


class RootHooks:
    """Tells a Capture when a model is called, from outside of what is compiled."""

    def __init__(self, capture: Capture, models: list[torch.nn.Module], failures: dict[str, str]):
        self.capture = capture
        self.roots: dict[int, Any] = {}
        self._passages: list[tuple[torch.nn.Module, Passage]] = []
        self._models = models
        self._enter = Hook(capture.enter)
        self._leave = Hook(self._left)
        self._heard = guarded(PART, failures, self._compiled)
        compiling.listen(self._heard)
        for model in models:
            self.add(model)

    def add(self, module: torch.nn.Module) -> None:
        """From now on calls of this module are told."""
        if id(module) in self.roots or any(m is module for m, _ in self._passages) or compiling.is_script(module):
            return
        if module._compiled_call_impl is not None:
            passage = Passage(module, self.capture.enter, self._left)
            module._compiled_call_impl = passage
            self._passages.append((module, passage))
            return
        before = module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True)
        after = module.register_forward_hook(self._leave, always_call=True)
        self.roots[id(module)] = (module, before, after)

    def outermost(self, module: torch.nn.Module) -> None:
        """A module is called outside of any other. Where that is no watched model but a part of one, calls of the part
        are told from the next one on."""
        if not self.capture.inside and any(True for _ in module.parameters()):
            self.add(module)

    def _left(self, module: torch.nn.Module, _args: Any, output: Any) -> None:
        self.capture.leave(module, output)

    def remove(self, module: torch.nn.Module) -> None:
        """Calls of this module are told no more."""
        _, before, after = self.roots.pop(id(module), (None, None, None))
        for handle in (before, after):
            if handle is not None:
                handle.remove()

    def _compiled(self, made: torch.nn.Module) -> None:
        """torch.compile made something of a module: hooks go from the inside of the region to its outside."""
        meant = getattr(made, "_orig_mod", made)
        inside = [m for m, *_ in self.roots.values() if any(m is x for x in meant.modules())]
        for module in inside:
            self.remove(module)
        if inside:
            self.add(made)

    def close(self) -> None:
        """Takes them all away."""
        compiling.unlisten(self._heard)
        for module, *_ in list(self.roots.values()):
            self.remove(module)
        for _, passage in self._passages:
            take_away(passage)
        self._passages = []
