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
from gradscope_tensorflow.ring import counter, in_xla, rarely, sparse

XLA = "the step is compiled by XLA, where no layer can be looked at; `gradscope check` sees them"
ELSEWHERE = "the forward pass ran in another graph than the gradients"
Seen = dict[int, tuple[list[Note], list[tuple[str, Any]]]]
"""What was noted, by the step."""


class Look:
    """Of one set of variables the last step that was looked at, and how often the loss was not finite."""

    def __init__(self) -> None:
        with tf.init_scope():
            self.last = tf.Variable(-1, dtype=tf.int64, trainable=False)
            self.accidents = tf.Variable(0, dtype=tf.int64, trainable=False)


class Witness:
    """Looks at the forward passes of one watch. A key tells a set of variables: it is that of the first."""

    def __init__(self, scope: Scope, events: Events):
        self.scope = scope
        self.events = events
        self.closed = False
        self.looks: dict[int, Look] = {}
        self._counts: dict[int, Any] = {}
        self._early: dict[int, Any] = {}
        self._seen: dict[int, Seen] = {}
        self._tell = guarded("forward pass", scope.failures, self._told)

    def hand_over(self, keys: set[int]) -> list[Any]:
        """The counters of steps of these variables that were read before anything counted them: count them now."""
        return [self._early.pop(key) for key in sorted(keys & self._early.keys())]

    def follow(self, keys: set[int], count: Any) -> None:
        """The steps of these variables are counted there."""
        self._counts = dict.fromkeys(keys, count) | self._counts

    def _step(self, key: int) -> Any:
        """How many steps were made with these variables."""
        if key not in self._counts:
            self._counts[key] = self._early[key] = counter()
        return tf.identity(self._counts[key])

    def look(self, key: int, loss: Any) -> None:
        """Part of the graph of a step, at the first gradients that it asks for. loss: None when it is not known."""
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
        step = self._step(key)
        first = tf.not_equal(step, look.last)
        with tf.control_dependencies([first]):
            look.last.assign(step)
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
