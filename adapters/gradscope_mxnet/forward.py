"""What the forward pass of one step shows: per block its output, per activation its units, per loss what enters.

Small arrays are noted; they are moved to the host in one transfer, after the step.
"""

from __future__ import annotations

from dataclasses import replace
from types import FrameType
from typing import Any

from gradscope.frames import users_line
from gradscope.idle import Idle
from gradscope.lineage import Lineage
from gradscope.notes import MEASURED, activation_note, activation_subject, batch_size, input_note, layer_note
from gradscope.row import Note
from mxnet import autograd, gluon, nd

from gradscope_mxnet import losses, measure
from gradscope_mxnet.names import Names, below, has_parameters

MOST_HELD = 2**10
"""So many notes, and arrays, of forward passes that no step followed are held."""
CHANNELS_FIRST = (gluon.nn.conv_layers._Conv, gluon.nn.conv_layers._Pooling, gluon.nn.BatchNorm)


class Forward:
    """The notes of the running step. `active` says whether anything is noted at all."""

    def __init__(self, names: Names, limits: dict[str, str], eager: bool = False):
        """eager: hybridized blocks run as if they were not."""
        self.names = names
        self.limits = limits
        self.eager = eager
        self.active = False
        self.spent = False
        self.in_loss = 0
        self.stack: list[Any] = []
        self.notes: list[Note] = []
        self.classes: list[tuple[str, Any]] = []
        self.order = 0
        self.seen: set[str] = set()
        self.called: set[str] = set()
        self.began = False
        self._origins: dict[int, tuple[Any, Lineage]] = {}
        self._idle = Idle()

    def reset(self) -> None:
        """Forgets the step: no array of it is held afterwards."""
        self.notes, self.classes = [], []
        self.forget_origins()
        self.seen.clear()
        self.order = 0
        self.spent = False

    def forget_origins(self) -> None:
        """Lets the arrays of the pass go; arrays take no weak references, so they were held."""
        self._origins.clear()

    def origin(self, array: Any) -> Lineage:
        """What is known about where an array came from."""
        found = self._origins.get(id(array))
        return found[1] if found is not None else Lineage()

    def mark(self, array: Any, origin: Lineage) -> None:
        """Notes where an array came from."""
        if isinstance(array, nd.NDArray):
            self._origins[id(array)] = (array, origin)

    # -- blocks ----------------------------------------------------------------------------------------------------

    def enter(self, block: Any, args: Any) -> None:
        """A block begins its call."""
        if not self.stack:
            if self.spent or len(self.notes) > MOST_HELD:
                self.reset()
            if len(self._origins) > MOST_HELD:
                self.forget_origins()
            self.began = self.began and isinstance(block, gluon.loss.Loss)
            for array in arrays(args):
                if not self.origin(array).layer:
                    self.mark(array, Lineage(data=True))
        self.in_loss += isinstance(block, gluon.loss.Loss)
        self.stack.append(block)

    def leave(self, block: Any, args: Any, output: Any, frame: FrameType) -> None:
        """A block ended its call, or raised: then output is None."""
        while self.stack:
            one = self.stack.pop()
            self.in_loss -= isinstance(one, gluon.loss.Loss)
            if one is block:
                break
        outputs = [a for a in arrays(output) if is_float(a)]
        if self.in_loss or not outputs:
            return
        if isinstance(block, gluon.loss.Loss):
            losses.note_loss(self, block, args, outputs[0], users_line(frame))
        elif self.names.known(block):
            self._left(block, args, outputs)

    def _left(self, block: Any, args: Any, outputs: list[Any]) -> None:
        name = self.names.module(block)
        self.called.add(name)
        given = next(iter(arrays(args)), None)
        own, weighty = bool(block._reg_params), has_parameters(block)
        if not weighty and all(self.origin(a).data for a in arrays(args)):
            for out in outputs:
                self.mark(out, Lineage(data=True))
            return
        root = not self.stack and weighty
        for out in outputs:
            known = self.origin(out)
            if own and not known.operation:
                known = Lineage(type(block).__name__.lower(), name, runs_over_channels(block))
            elif not known.layer and given is not None:
                known = self.origin(given)
            self.mark(out, replace(known, is_output=known.is_output or root, data=False))
        if getattr(block, "_active", False) and block._children and weighty and not self.eager:
            self._note_graph(block)
        if own or root:
            self._note_block(block, name, outputs[0], given, root)
        if own and given is not None and is_float(given) and (self.origin(given).data or not self.began):
            self._note_input(block, name, given)
        self.began = self.began or own

    def _note_block(self, block: Any, name: str, out: Any, given: Any, root: bool) -> None:
        if name in self.seen or measure.is_empty(out):
            return
        self.seen.add(name)
        usable = given if given is not None and is_float(given) else None
        values = measure.output_statistics(out, usable)
        self.notes.append(
            layer_note(
                name,
                measure.joined([measure.constant(self.next_order(), values), values]),
                shape=out.shape,
                type=type(block).__name__,
                source=self.names.source(block),
                operation=self.origin(out).operation,
                root=root,
                training=bool(autograd.is_training()),
                parameters=bool(block._reg_params),
            )
        )

    def _note_graph(self, block: Any) -> None:
        """The order of the blocks inside a hybridized one, read from its graph: nothing else of them is seen."""
        self.limits["activations"] = "the net is hybridized: what its blocks put out is seen by `gradscope check` only"
        owners = {p.name: b for b in below(block) for p in b._reg_params.values()}
        graph = block._cached_graph
        for argument in graph[1].list_arguments() if graph else ():
            owner = owners.get(argument)
            if owner is None or self.names.module(owner) in self.seen:
                continue
            name = self.names.module(owner)
            self.seen.add(name)
            self.called.add(name)
            source, kind = self.names.source(owner), type(owner).__name__
            order = [self.next_order()]
            self.notes.append(layer_note(name, order, shape=(), type=kind, source=source, quantities=("order",)))

    def next_order(self) -> float:
        """The place in the order of execution of what is noted now."""
        self.order += 1
        return float(self.order - 1)

    def _note_input(self, block: Any, name: str, given: Any) -> None:
        if isinstance(block, gluon.nn.Embedding) or measure.is_empty(given):
            return
        values = measure.data_statistics(given, measure.channel_dimension(given, runs_over_channels(block)))
        numbers = measure.joined([values, measure.constant(batch_size(given.shape), values)])
        consumer, source = type(block).__name__, self.names.source(block)
        self.notes.append(input_note(name, numbers, shape=given.shape, consumer=consumer, source=source))

    # -- activations -----------------------------------------------------------------------------------------------

    def note_activation(self, operation: str, given: Any, out: Any) -> None:
        """One activation function was applied: its dead and its saturated units."""
        before = self.origin(given)
        if before.data or self.in_loss or not is_float(out):
            return
        owner = next((b for b in reversed(self.stack) if b._reg_params), self.stack[-1] if self.stack else None)
        layer = before.layer or (self.names.module(owner) if owner is not None else "")
        convolutional = before.convolutional or (not before.layer and owner is not None and runs_over_channels(owner))
        self.mark(out, before.through(operation, layer, out.shape, convolutional=convolutional))
        recurrent = any(isinstance(b, gluon.rnn.RecurrentCell) for b in self.stack)
        if operation not in MEASURED or recurrent or measure.is_empty(out):
            return
        subject = activation_subject(operation, layer)
        if subject in self.seen:
            return
        self.seen.add(subject)
        if operation == "relu":
            zero = measure.share(measure.wide(out).reshape((-1,)) == 0)
            found = [zero, self._dead(subject, out, convolutional)]
        else:
            found = [measure.saturated_fraction(out, operation)]
        numbers = measure.joined([measure.constant(self.next_order(), out), *found])
        self.notes.append(activation_note(operation, layer, numbers, shape=out.shape, output=not self.stack))

    def _dead(self, subject: str, out: Any, convolutional: bool) -> Any:
        inactive, samples = measure.inactive_units(out, measure.channel_dimension(out, convolutional))
        dead = self._idle.dead(subject, inactive, samples)
        return measure.constant(float("nan"), out) if dead is None else measure.share(dead)


def runs_over_channels(block: Any) -> bool:
    """Whether the second dimension of what a block puts out counts its units."""
    if not isinstance(block, CHANNELS_FIRST):
        return False
    settings = block._kwargs
    return bool(settings.get("axis", 1) == 1 and settings.get("layout", "NC").startswith("NC"))


def is_float(value: Any) -> bool:
    """Whether it is an array of floating-point numbers."""
    return isinstance(value, nd.NDArray) and "float" in measure.type_name(value)


def arrays(value: Any) -> list[Any]:
    """The arrays in a nest of tuples, lists and mappings."""
    if isinstance(value, nd.NDArray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [a for v in value for a in arrays(v)]
    return []
