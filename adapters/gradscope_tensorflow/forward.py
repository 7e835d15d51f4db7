"""What the forward pass of one step shows: per layer its output, per activation its units, per loss what enters."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from gradscope import statistics
from gradscope.idle import Idle
from gradscope.lineage import Lineage
from gradscope.notes import MEASURED, activation_note, activation_subject, batch_size, input_note, layer_note
from gradscope.row import Note

from gradscope_tensorflow.arrays import host, is_eager, is_float, tensors
from gradscope_tensorflow.names import Names

INDICES = {"Embedding", "StringLookup", "IntegerLookup", "Hashing", "Discretization", "CategoryEncoding"}


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
        self._origins: dict[int, tuple[Any, Lineage]] = {}
        self._idle = Idle()

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

    def origin(self, tensor: Any) -> Lineage:
        """What is known about where a tensor came from."""
        found = self._origins.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else Lineage()

    def mark(self, tensor: Any, origin: Lineage) -> None:
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
                    self.mark(tensor, Lineage(data=True))
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
                self.mark(out, Lineage(data=True))
            return
        root = not self.stack and bool(layer.variables)
        for out in outputs:
            known = self.origin(out)
            if own and not known.operation:
                known = Lineage(type(layer).__name__.lower(), name)
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
        self.notes.append(
            layer_note(
                name,
                np.concatenate([[self.order - 1], values]),
                shape=out.shape,
                type=type(layer).__name__,
                source=self.names.source(layer),
                operation=self.origin(out).operation,
                root=root,
                parameters=bool(layer._trainable_variables),
            )
        )

    def _note_input(self, layer: Any, name: str, given: Any) -> None:
        if type(layer).__name__ in INDICES or not int(np.prod(given.shape)):
            return
        values = np.concatenate([statistics.data_statistics(host(given)), [batch_size(given.shape)]])
        consumer, source = type(layer).__name__, self.names.source(layer)
        self.notes.append(input_note(name, values, shape=given.shape, consumer=consumer, source=source))

    # -- activations -----------------------------------------------------------------------------------------------

    def note_activation(self, operation: str, given: Any, out: Any) -> None:
        """One activation function was applied: its dead and its saturated units."""
        before = self.origin(given)
        if before.data or not is_float(out):
            return
        layer = before.layer or self.current_module()
        self.mark(out, before.through(operation, layer, out.shape))
        recurrent = bool(self.stack) and hasattr(self.stack[-1], "state_size")
        if operation not in MEASURED or recurrent or not int(np.prod(out.shape)):
            return
        subject = activation_subject(operation, layer)
        if subject in self.seen:
            return
        self.seen.add(subject)
        array, found = host(out), [float(self.order)]
        if operation == "relu":
            found += [statistics.zero_fraction(array), self._dead(subject, array)]
        else:
            found.append(statistics.saturated_fraction(array, operation))
        source = self.names.source(self.stack[-1]) if self.stack else None
        self.notes.append(
            activation_note(operation, layer, np.array(found), shape=out.shape, output=not self.stack, source=source)
        )

    def _dead(self, subject: str, array: Any) -> float:
        inactive, samples = statistics.inactive_units(np.atleast_1d(array))
        dead = self._idle.dead(subject, inactive, samples)
        return float("nan") if dead is None else float(dead.mean())
