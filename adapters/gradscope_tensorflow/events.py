"""Events: what the forward pass of a step called, noted with its tensors, so that it can be told to a Forward later.

In a graph the tensors have no numbers while it is traced; in an eager step nobody knows yet whether it will be one that
is looked at. So calls are kept as they came, and told again, in their order, with tensors that have numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from gradscope.notes import MEASURED

from gradscope_tensorflow.arrays import Unseen, is_eager
from gradscope_tensorflow.forward import Forward
from gradscope_tensorflow.functions import note_logits, note_view

Event = tuple[Callable[..., None], tuple[Any, ...]]


class Events:
    """The calls of the running step."""

    def __init__(self, forward: Forward):
        self.forward = forward
        self.spent = False
        self._calls: list[Event] = []
        self._roots: set[int] = set()

    def clear(self) -> None:
        """Forgets the step and its tensors."""
        self._calls = []
        self.spent = False

    def note(self, action: Callable[..., None], *args: Any) -> None:
        """A function of the forward pass was called; `action` tells a Forward about it."""
        self._calls.append((action, args))

    def entered(self, layer: Any, args: Any) -> None:
        """A layer begins its call."""
        self._calls.append((self.forward.enter, (layer, args)))
        self.forward.stack.append(layer)

    def left(self, layer: Any, args: Any, output: Any) -> None:
        """A layer ended its call; output is None when it raised."""
        self._calls.append((self.forward.leave, (layer, args, output)))
        while self.forward.stack and self.forward.stack.pop() is not layer:
            pass
        if not self.forward.stack:
            self._roots.add(id(layer))

    def usable(self) -> tuple[list[Event], list[Any]]:
        """(calls, the tensors whose numbers they need): of what can be read where the step is traced, or now when it is
        eager."""
        graphs = reachable_graphs()
        calls: list[Event] = []
        for action, args in self._calls:
            if all(within(t, graphs) for t in tensors_of(args)):
                calls.append((action, args))
            elif action == self.forward.leave and all(within(t, graphs) for t in tensors_of(args[1])):
                calls.append((action, (args[0], args[1], None)))
        found = {id(t): t for action, args in calls for t in self._needed(action, args)}
        return calls, list(found.values())

    def _needed(self, action: Any, args: Any) -> list[Any]:
        """Those whose numbers are read. Of the others it matters only which is which: to fetch what enters an
        activation would keep the graph from fusing it with what comes before."""
        if action in (self.forward.enter, note_view, note_logits):
            return []
        if action == self.forward.note_activation:
            return tensors_of(args[2]) if args[0] in MEASURED else []
        if action == self.forward.leave:
            layer, given, output = args
            read = bool(layer._trainable_variables or layer._non_trainable_variables) or id(layer) in self._roots
            return [*tensors_of(given)[:1], *tensors_of(output)] if read else []
        return tensors_of(args)

    def tell(self, calls: Sequence[Event], tensors: Sequence[Any], numbers: Sequence[Any]) -> None:
        """Tells the Forward of the calls, with the eager tensors `numbers` in the place of `tensors`."""
        forward = self.forward
        known: dict[int, Any] = {id(t): n for t, n in zip(tensors, numbers, strict=True)}
        for _, args in calls:
            for tensor in tensors_of(args):
                known.setdefault(id(tensor), Unseen(tensor))
        saved = forward.stack, forward.tapes, forward.in_loss
        forward.reset()
        forward.stack, forward.tapes, forward.in_loss = [], 1, 0
        try:
            for action, args in calls:
                action(*exchanged(args, known))
        finally:
            forward.stack, forward.tapes, forward.in_loss = saved


def is_tensor(value: Any) -> bool:
    """Whether it is a dense tensor, with numbers or of a graph."""
    return isinstance(value, tf.Tensor)


def tensors_of(value: Any) -> list[Any]:
    """The tensors in a nest of tuples, lists and mappings."""
    if is_tensor(value):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_of(v)]
    if isinstance(value, list | tuple):
        return [t for v in value for t in tensors_of(v)]
    return []


def exchanged(value: Any, known: dict[int, Any]) -> Any:
    """The same nest with other tensors."""
    if is_tensor(value):
        return known.get(id(value), value)
    if isinstance(value, dict):
        return {k: exchanged(v, known) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return (
            [exchanged(v, known) for v in value]
            if isinstance(value, list)
            else tuple(exchanged(v, known) for v in value)
        )
    return value


def reachable_graphs() -> set[int]:
    """The ids of the graph that is being traced and of those around it."""
    found: set[int] = set()
    if tf.executing_eagerly():
        return found
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        found.add(id(graph))
        graph = getattr(graph, "outer_graph", None)
    return found


def within(tensor: Any, graphs: set[int]) -> bool:
    """Whether a tensor can be read in one of the graphs: it has numbers, or it belongs to one of them."""
    return is_eager(tensor) or id(tensor.graph) in graphs
