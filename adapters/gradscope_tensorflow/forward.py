"""What the forward pass of one step shows: per layer its output, per activation its units, per loss what enters."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gradscope import statistics
from gradscope.row import Note

from gradscope_tensorflow.arrays import host, is_eager, is_float, tensors
from gradscope_tensorflow.names import Names

ENOUGH_SAMPLES = 128
"""A unit counts as dead when it was zero for this many samples in a row (a single batch may miss a rare unit)."""
MEASURED = frozenset({"relu", "sigmoid", "tanh"})
"""Activations whose units are looked at."""
INDICES = {"Embedding", "StringLookup", "IntegerLookup", "Hashing", "Discretization", "CategoryEncoding"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor came from: the last operation that shaped its range, the layer before it, and whether a root
    layer returned it. data: it was computed from inputs alone."""

    operation: str = ""
    layer: str = ""
    is_output: bool = False
    unit: bool = False
    data: bool = False


class Forward:
    """The notes of the running step. `active` says whether anything is noted at all, `sees` which tensors."""

    def __init__(self, names: Names, sees: Callable[[Any], bool] | None = None):
        self.names = names
        self.sees = sees or is_eager
        self.active = False
        self.tapes = 0
        self.in_loss = 0
        self.stack: list[Any] = []
        self.notes: list[Note] = []
        self.classes: list[tuple[str, Any]] = []
        self.order = 0
        self.seen: set[str] = set()
        self.called: set[str] = set()
        self.began = False
        self.kept: dict[str, Any] | None = None
        """Where a cold check wants the outputs of layers kept: name -> tensor, in order of execution."""
        self._origins: dict[int, tuple[Any, Origin]] = {}
        self._idle: dict[str, Any] = {}
        self._idle_samples: dict[str, int] = {}

    @property
    def looking(self) -> bool:
        """Whether what runs now belongs to a training step."""
        return self.active and self.tapes > 0

    def reset(self) -> None:
        """Forgets the step: no tensor of it is held afterwards."""
        self.notes.clear()
        self.classes.clear()
        self._origins.clear()
        self.seen.clear()
        self.order = 0

    def origin(self, tensor: Any) -> Origin:
        """What is known about where a tensor came from."""
        found = self._origins.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else Origin()

    def mark(self, tensor: Any, origin: Origin) -> None:
        """Notes where a tensor came from."""
        if is_eager(tensor):
            self._origins[id(tensor)] = (weakref.ref(tensor), origin)

    def current_module(self) -> str:
        """The dotted name of the innermost layer that is running."""
        return self.names.module(self.stack[-1]) if self.stack else ""

    # -- layers ----------------------------------------------------------------------------------------------------

    def enter(self, layer: Any, args: Any) -> None:
        """A layer begins its call."""
        if not self.stack:
            self.began = False
            for tensor in tensors(args):
                if not self.origin(tensor).layer:
                    self.mark(tensor, Origin(data=True))
        self.stack.append(layer)

    def leave(self, layer: Any, args: Any, output: Any) -> None:
        """A layer ended its call, or raised: then output is None."""
        while self.stack and self.stack.pop() is not layer:
            pass
        if not self.looking or output is None:
            return
        name = self.names.module(layer)
        self.called.add(name)
        given = next(iter(tensors(args)), None)
        outputs = [t for t in tensors(output) if is_float(t)]
        own = bool(layer._trainable_variables or layer._non_trainable_variables)
        if not layer.variables and all(self.origin(t).data for t in tensors(args)):
            for out in outputs:
                self.mark(out, Origin(data=True))
            return
        root = not self.stack and bool(layer.variables)
        for out in outputs:
            known = self.origin(out)
            if own and not known.operation:
                known = Origin(type(layer).__name__.lower(), name)
            elif not known.layer and given is not None:
                known = self.origin(given)
            self.mark(out, replace(known, is_output=known.is_output or root, data=False))
        if not outputs or not (own or root):
            return
        if own and self.kept is not None:
            self.kept.setdefault(name, outputs[0])
        self._note_module(layer, name, outputs[0], given, root)
        if own and given is not None and is_float(given) and (self.origin(given).data or not self.began):
            self._note_input(layer, name, given)
        self.began = self.began or own

    def _note_module(self, layer: Any, name: str, out: Any, given: Any, root: bool) -> None:
        if name in self.seen or not int(np.prod(out.shape)):
            return
        self.seen.add(name)
        values = statistics.output_statistics(host(out), host(given) if is_float(given) else None)
        self.order += 1
        traits = {
            "root": root,
            "training": True,
            "units": int(out.shape[-1]) if len(out.shape) else 1,
            "operation": self.origin(out).operation,
            "parameters": bool(layer._trainable_variables),
        }
        quantities = ("order", *statistics.MODULE_STATISTICS)
        numbers = np.concatenate([[self.order - 1], values])
        kind = type(layer).__name__
        self.notes.append(Note("module", name, quantities, numbers, traits, name, self.names.source(layer), kind))

    def _note_input(self, layer: Any, name: str, given: Any) -> None:
        if type(layer).__name__ in INDICES or not int(np.prod(given.shape)):
            return
        size = given.shape[0] if len(given.shape) > 1 else float("nan")
        values = np.concatenate([statistics.data_statistics(host(given)), [size]])
        quantities = ("mean", "deviation", "abs_max", "feature_ratio", "largest_feature", "nonfinite", "batch_size")
        traits = {"shape": tuple(given.shape), "consumer": type(layer).__name__}
        self.notes.append(Note("input", name, quantities, values, traits, name, self.names.source(layer), "input"))

    # -- activations -----------------------------------------------------------------------------------------------

    def note_activation(self, operation: str, given: Any, out: Any) -> None:
        """One activation function was applied: its dead and its saturated units."""
        before = self.origin(given)
        if before.data or not is_float(out):
            return
        layer = before.layer or self.current_module()
        one_unit = "softmax" in operation and len(out.shape) > 0 and out.shape[-1] == 1
        self.mark(out, Origin(operation, layer, before.is_output, one_unit))
        recurrent = bool(self.stack) and hasattr(self.stack[-1], "state_size")
        if operation not in MEASURED or recurrent or not int(np.prod(out.shape)):
            return
        subject = f"{layer} > {operation}" if layer else operation
        if subject in self.seen:
            return
        self.seen.add(subject)
        array = host(out)
        if operation == "relu":
            quantities: tuple[str, ...] = ("order", "zero_fraction", "dead_fraction")
            values = [self.order, statistics.zero_fraction(array), self._dead(subject, array)]
        else:
            quantities = ("order", "saturated_fraction")
            values = [self.order, statistics.saturated_fraction(array, operation)]
        traits = {"activation": operation, "units": int(out.shape[-1]), "output": not self.stack}
        source = self.names.source(self.stack[-1]) if self.stack else None
        self.notes.append(Note("module", subject, quantities, np.array(values), traits, layer, source, operation))

    def _dead(self, subject: str, array: Any) -> float:
        inactive, samples = statistics.inactive_units(array)
        idle = self._idle.get(subject)
        if idle is None or idle.shape != inactive.shape:
            idle = np.zeros(len(inactive))
            self._idle_samples[subject] = 0
        self._idle[subject] = idle = np.where(inactive, idle + samples, 0)
        self._idle_samples[subject] += samples
        if self._idle_samples[subject] < ENOUGH_SAMPLES:
            return float("nan")
        return float((idle >= ENOUGH_SAMPLES).mean())
