"""Witness: hands the forward pass of a step to the host, in the steps of the sparse schedule and in the first that is
not finite: what its layers, activations and losses put out, and where the accident began."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from gradscope.guard import guarded
from gradscope.scope import Scope

from gradscope_tensorflow.events import Event, Events
from gradscope_tensorflow.origin import origin_of
from gradscope_tensorflow.ring import ABSENT, in_xla, rarely, sparse
from gradscope_tensorflow.track import Track

XLA = "the step is compiled by XLA, where no layer can be looked at; `gradscope check` sees them"
ELSEWHERE = "the forward pass ran in another graph than the optimizer's step"


class Witness:
    """Looks at the forward passes of one watch."""

    def __init__(self, scope: Scope, events: Events):
        self.scope = scope
        self.events = events
        self.closed = False
        self._told: dict[int, set[str]] = {}
        self._tell = guarded("forward pass", scope.failures, self._look)

    def look(self, track: Track, step: Any, norms: Any, loss: Any, first: Any) -> None:
        """Part of the graph of a step. first: whether it is the first of the calls that make a step."""
        if in_xla():
            self.scope.limits.setdefault("activations", XLA)
            return
        calls, tensors = self.events.usable()
        if not calls:
            self.scope.limits.setdefault("activations", ELSEWHERE)
            return
        good = tf.reduce_all(tf.math.is_finite(norms))
        if loss is not None:
            good = tf.logical_and(good, tf.reduce_all(tf.math.is_finite(loss)))
        accident = tf.logical_and(tf.logical_not(good), tf.equal(track.ring.accidents, 0))
        wanted = tf.logical_or(tf.logical_and(sparse(step), first), accident)

        def shown(number: Any, bad: Any, found: Any, *eager: Any) -> None:
            self._tell(track, int(number), bool(bad), found.numpy(), calls, tensors, eager)

        def show() -> Any:
            done = tf.py_function(shown, [step, accident, norms, *tensors], [])
            with tf.control_dependencies([] if done is None else [done]):
                return tf.identity(track.ring.accidents.assign_add(tf.cast(accident, tf.int64)))

        if not tf.executing_eagerly():
            rarely(wanted, show, lambda: tf.identity(track.ring.accidents))
        elif wanted:
            shown(step, accident, norms, *tensors)
            track.ring.accidents.assign_add(tf.cast(accident, tf.int64))

    def _look(
        self, track: Track, step: int, bad: bool, norms: Any, calls: list[Event], tensors: list[Any], eager: Any
    ) -> None:
        if self.closed:
            return
        forward = self.events.forward
        self.events.tell(calls, tensors, eager)
        notes = list(forward.notes)
        track.notes[step] = (notes, list(forward.classes))
        history = track.objective.history
        history.facts["called"] = sorted(forward.called)
        if bad:
            columns = np.flatnonzero(norms != ABSENT)
            history.facts["origin"] = origin_of(history, step, notes, norms[columns], columns.tolist())
        forward.reset()
