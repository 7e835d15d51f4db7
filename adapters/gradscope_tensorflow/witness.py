"""Witness: hands the forward pass of a step to the host, in the steps of the sparse schedule and in the first whose
loss is not finite: what its layers, activations and losses put out.

It looks when the gradients are asked for, before the backward pass: a tensor that waited for the optimizer's step would
hold memory that the backward pass could use, which costs more than everything else here.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from gradscope.guard import guarded
from gradscope.row import Note
from gradscope.scope import Scope

from gradscope_tensorflow.events import Event, Events
from gradscope_tensorflow.ring import in_xla, rarely, sparse

XLA = "the step is compiled by XLA, where no layer can be looked at; `gradscope check` sees them"
ELSEWHERE = "the forward pass ran in another graph than the gradients"
Seen = dict[int, tuple[list[Note], list[tuple[str, Any]]]]
"""What was noted, by the step."""


class Look:
    """How often gradients were asked for, of one set of variables, and how often the loss was not finite."""

    def __init__(self) -> None:
        with tf.init_scope():
            self.count = tf.Variable(0, dtype=tf.int64, trainable=False)
            self.accidents = tf.Variable(0, dtype=tf.int64, trainable=False)


class Witness:
    """Looks at the forward passes of one watch. A key tells a set of variables: it is that of the first."""

    def __init__(self, scope: Scope, events: Events):
        self.scope = scope
        self.events = events
        self.closed = False
        self.looks: dict[int, Look] = {}
        self._seen: dict[int, Seen] = {}
        self._tell = guarded("forward pass", scope.failures, self._told)

    def look(self, key: int, loss: Any, many: int) -> None:
        """Part of the graph of a step. loss: None when it is not known. many: calls that make one step."""
        if in_xla():
            self.scope.limits.setdefault("activations", XLA)
            return
        calls, tensors = self.events.usable()
        if not calls:
            if not tf.executing_eagerly():
                self.scope.limits.setdefault("activations", ELSEWHERE)
            return
        if key not in self.looks:
            self.looks[key] = Look()
        look = self.looks[key]
        at = tf.identity(look.count)
        with tf.control_dependencies([at]):
            look.count.assign_add(1)
        step, first = at // many, tf.equal(at % many, 0)
        bad = tf.constant(False)
        if loss is not None:
            bad = tf.logical_not(tf.reduce_all(tf.math.is_finite(loss)))
        accident = tf.logical_and(bad, tf.equal(look.accidents, 0))
        wanted = tf.logical_or(tf.logical_and(sparse(step), first), accident)

        def shown(number: Any, *eager: Any) -> None:
            self._tell(key, int(number), calls, tensors, eager)

        def show() -> Any:
            done = tf.py_function(shown, [step, *tensors], [])
            with tf.control_dependencies([] if done is None else [done]):
                return tf.identity(look.accidents.assign_add(tf.cast(accident, tf.int64)))

        if not tf.executing_eagerly():
            rarely(wanted, show, lambda: tf.identity(look.accidents))
        elif wanted:
            shown(step, *tensors)
            look.accidents.assign_add(tf.cast(accident, tf.int64))

    def _told(self, key: int, step: int, calls: list[Event], tensors: list[Any], eager: Any) -> None:
        if self.closed:
            return
        forward = self.events.forward
        self.events.tell(calls, tensors, eager)
        self._seen.setdefault(key, {})[step] = (list(forward.notes), list(forward.classes))
        forward.reset()

    def take(self, keys: set[int], taken: int) -> Seen:
        """What was noted of the steps before `taken`, once."""
        found: Seen = {}
        for key in keys & self._seen.keys():
            found |= {step: seen for step, seen in self._seen[key].items() if step < taken}
            self._seen[key] = {step: seen for step, seen in self._seen[key].items() if step >= taken}
        return found

    def again(self, keys: set[int]) -> None:
        """The accident was none, for its step was skipped: the next one is the first."""
        for key in keys & self.looks.keys():
            self.looks[key].accidents.assign(0)
