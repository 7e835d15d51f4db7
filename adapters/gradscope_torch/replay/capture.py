"""Capture: hears of the calls that lead to a loss, and keeps their tape until the step is over."""

from __future__ import annotations

import threading
from typing import Any

import torch
from gradscope.guard import guarded

from gradscope_torch.mode import TapeMode
from gradscope_torch.replay.calls import Call, Pass
from gradscope_torch.replay.streams import Streams
from gradscope_torch.replay.tape import Tape

PART = "torch first cause"


class Capture:
    """The tape of the running step. enter() and leave() are told of the models' calls; nested ones do not count."""

    def __init__(self, failures: dict[str, str]):
        self.tape = Tape()
        self.resting = False
        """True while a step is run again."""
        self.mode = TapeMode(guarded(PART, failures, self._function))
        self.enter = guarded(PART, failures, self._enter)
        self.leave = guarded(PART, failures, self._leave)
        self.backward_begins = guarded(PART, failures, self._backward_begins)
        self.backward_ended = guarded(PART, failures, self._backward_ended)
        self._thread: int | None = None
        """The thread of the running step: that which calls a model first."""
        self.inside: list[torch.nn.Module] = []
        """The modules that are running, the outermost first."""
        self._call: Call | None = None
        self._pass: Pass | None = None
        self._stale = False

    def _elsewhere(self) -> bool:
        if self._thread is None:
            self._thread = threading.get_ident()
        return self.resting or threading.get_ident() != self._thread

    def _enter(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._elsewhere() or torch._C._current_graph_task_id() != -1:
            return  # in a backward pass, activation checkpointing runs a part of the forward pass again
        self.inside.append(module)
        if len(self.inside) > 1:
            return
        self._anew()
        if torch.is_grad_enabled():
            self.quiet()
            self._call = self.tape.model_begins(module, args, kwargs)

    def _leave(self, module: torch.nn.Module, output: Any) -> None:
        if self._elsewhere() or not any(m is module for m in self.inside):
            return
        while self.inside.pop() is not module:
            pass
        if self.inside:
            return
        call, self._call = self._call, None
        if call is None or output is None or not self.tape.model_ended(call, output):
            return
        if self.mode.push():
            self.tape.leaks = True
        self.mode.open = True

    def _function(self, target: Any, args: Any, kwargs: Any, result: Any, streams: Streams | None) -> None:
        if not self.resting:
            self.tape.function(target, args, kwargs, result, streams)

    def _backward_begins(self, losses: Any, options: dict[str, Any]) -> None:
        self.mode.open = False
        self._anew()
        self._pass = self.tape.backward(losses if isinstance(losses, tuple) else (losses,), options)

    def _backward_ended(self) -> None:
        done, self._pass = self._pass, None
        if done is not None:
            self.tape.backward_ended(done)

    def quiet(self) -> None:
        """Calls outside of the models are heard no more, until a model has been called again."""
        self.mode.open = False
        if self.mode.on:
            self.mode.pop()

    def take_back(self) -> None:
        """The last backward pass was none of ours."""
        if self.tape.passes:
            self.tape.passes.pop()

    def step_ended(self, *, kept: bool = False) -> None:
        """The step is over. kept: that of one of several optimizers, so that the tape stays until another begins."""
        self.quiet()
        self.inside, self._thread = [], None  # an interrupt leaves a forward pass without telling
        self._stale = kept
        if not kept:
            self.tape.step_ended()

    def _anew(self) -> None:
        if self._stale:
            self._stale = False
            self.tape.step_ended()

    def close(self) -> None:
        """Hears nothing and holds nothing any more."""
        self.quiet()
        self.tape.clear()
        self.inside = []
