"""LayerHooks: the hooks on the modules of watched models, which come and go, and stay outside of compiled regions."""

from __future__ import annotations

from typing import Any

import torch
from gradscope.guard import guarded

from gradscope_torch import compiling, scripting
from gradscope_torch.compiling import Passage, Regions, take_away
from gradscope_torch.hook import Hook
from gradscope_torch.recorder import MODULES, Recorder

LIMIT = "activations"
INSIDE = "compiled by torch.compile: what its modules put out is not seen"
BESIDE = "torch.compile compiled code that may hold the modules: what they put out is not seen"
SCRIPTS = "a part is TorchScript: what its modules put out is not seen"


class LayerHooks:
    """Puts hooks on modules before a step with full statistics, and takes them away after it."""

    def __init__(self, recorder: Recorder, models: list[torch.nn.Module]):
        failures = recorder.scope.failures
        self.recorder = recorder
        self.models = models
        self.regions = Regions()
        self.beside = compiling.is_strict()
        """Whether compiled code may run anywhere, so that function modes must stay off."""
        recorder.capture.mode.banned = self.beside
        self._handles: list[Any] = []
        self._passages: list[Passage] = []
        self._depth = 0
        self._enter, self._leave = Hook(guarded(MODULES, failures, self._entered)), Hook(recorder.leave)
        self._arrive = Hook(guarded(MODULES, failures, self._arrived))
        self._depart = Hook(guarded(MODULES, failures, self._departed))
        self._made = guarded(MODULES, failures, self._was_made)
        self._begins = guarded(MODULES, failures, self._begins_to_compile)
        self.switch = guarded(MODULES, failures, self._switch)
        """Called after each step: which hooks does the next one want?"""
        compiling.listen(self._made)
        scripting.allow(self)

    def close(self) -> None:
        """Takes every hook away."""
        compiling.unlisten(self._made)
        scripting.disallow(self)
        self._remove()
        held = compiling.callbacks()
        if self._begins in held.start_callbacks:
            held.remove_start_callback(self._begins)

    # -- hooks -----------------------------------------------------------------------------------------------------

    @property
    def _placed(self) -> bool:
        return bool(self._handles or self._passages)

    def _switch(self, _steps: int = 0) -> None:
        if self.beside:
            self._remove()
            self.recorder.forward.reset()  # what was noted is of a step that is over
        elif not self.recorder.forward.active:
            self._remove()
        elif not self._placed:
            self._put()
        held = compiling.callbacks()  # torch.compiler.reset() has forgotten ours
        if self._begins not in held.start_callbacks:
            held.register_start_callback(self._begins)

    def _put(self) -> None:
        self.regions.scan(self.models)
        for module in {id(m): m for root in self.models for m in root.modules()}.values():
            if self.regions.takes_hooks(module):
                self._handles.append(module.register_forward_pre_hook(self._enter))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))
        for door in self.regions.doors.values():
            if door.sealed:
                passage = Passage(door.called, self._arrive, self._depart)
                door.called._compiled_call_impl = passage
                self._passages.append(passage)
            else:
                self._handles.append(door.called.register_forward_pre_hook(self._arrive))
                self._handles.append(door.called.register_forward_hook(self._depart, always_call=True))
        self._say()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        for passage in self._passages:
            take_away(passage)
        self._handles, self._passages, self._depth = [], [], 0
        self.recorder.mode.pop()

    def _say(self) -> None:
        """Tells what is not seen, and lets nobody conclude that what is not seen did not run."""
        names, limits = self.recorder.names, self.recorder.scope.limits
        inside = [m for root in self.models for m in root.modules() if id(m) in self.regions.inside]
        if inside:
            doors = sorted({names.module(d.meant) for d in self.regions.doors.values() if names.known(d.meant)})
            who = "the model is" if "" in doors or not doors else f"{', '.join(map(repr, doors))}:"
            limits[LIMIT] = f"{who} {INSIDE}"
        scripts = [m for root in self.models for m in root.modules() if compiling.is_script(m)]
        if scripts:
            limits.setdefault(LIMIT, SCRIPTS)
        if self.beside:
            limits.setdefault(LIMIT, BESIDE)
        unseen = [m for root in self.models for m in root.modules()] if self.beside else inside + scripts
        self.recorder.forward.called.update(map(names.module, unseen))
        self.recorder.forward.unseen = bool(unseen)

    # -- modules ---------------------------------------------------------------------------------------------------

    def _entered(self, module: torch.nn.Module, _args: Any) -> None:
        if not self.recorder.forward.stack:
            self._listen()
        self.recorder.enter(module)

    def _listen(self) -> None:
        if not self.beside and not self._depth and torch.is_grad_enabled():
            self.recorder.mode.push()

    def _arrived(self, called: torch.nn.Module, _args: Any, _kwargs: Any = None) -> None:
        """A compiled region begins: no mode may be on."""
        self._depth += 1
        self.recorder.mode.pop()
        meant = self._known(called)
        if meant is not None:
            self.recorder.enter(meant)

    def _departed(self, called: torch.nn.Module, args: Any, output: Any) -> None:
        self._depth = max(0, self._depth - 1)
        meant = self._known(called)
        if meant is not None:
            self.recorder.leave(meant, args, output)
        if self.recorder.forward.active:
            self._listen()

    def _known(self, called: torch.nn.Module) -> torch.nn.Module | None:
        door = self.regions.doors.get(id(called))
        return door.meant if door is not None and self.recorder.names.known(door.meant) else None

    # -- what is compiled meanwhile --------------------------------------------------------------------------------

    def _was_made(self, module: torch.nn.Module) -> None:
        """A module was compiled: hooks of ours go out of the region."""
        self.regions.add(module)
        if self._placed:
            self._remove()
            self._switch()

    def _begins_to_compile(self, args: Any = None) -> None:
        """Dynamo begins to compile. Where that is no region that is known, hooks and mode go before it looks."""
        tape = self.recorder.capture.mode
        if compiling.is_frame(args) and tape.on:
            tape.banned = True
            self.recorder.capture.quiet()
        if self._depth:
            return
        if not self._placed:
            self.regions.scan(self.models)
        known = bool(self.regions.doors) and not self._placed
        if compiling.is_frame(args) and not known and not self.beside:
            self.beside = True
            self._say()
        self._remove()
        self.recorder.forward.stack.clear()
