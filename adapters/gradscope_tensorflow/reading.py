"""Reading on the host: what the steps wrote into their rings, and the weights before the steps that are looked at.

A graph is read after it ran, an eager step after it was taken; neither more often than its ring or the schedule asks.
"""

from __future__ import annotations

import weakref
from typing import Any

import tensorflow as tf
from gradscope.guard import guarded
from gradscope.schedule import sparse_schedule

from gradscope_tensorflow.ring import ROWS
from gradscope_tensorflow.track import Track


class Reading:
    """Reads the tracks of a watch, by the id of their optimizer, until it is closed.

    failures: where what went wrong inside a graph's call is noted.
    """

    def __init__(self, models: list[Any], tracks: dict[int, Track], failures: dict[str, str]):
        self.models = models
        self.tracks = tracks
        self.closed = False
        self._calls: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._idle: weakref.WeakSet[Any] = weakref.WeakSet()
        self._running = False
        self._before: tuple[dict[int, int], dict[int, Any]] | None = None
        self._begin = guarded("tf.function", failures, self._function_begins)
        self._end = guarded("tf.function", failures, self._function_ended)

    def step_begins(self, track: Track, step: int, first: bool) -> None:
        """An eager step is about to be taken: before those that are looked at, the weights are copied."""
        if first:
            self._before = None
        if first and sparse_schedule(step):
            self._before = ({id(track): step}, track.weights())

    def step_ended(self, optimizer: Any, gradients: list[Any], variables: list[Any] | None) -> None:
        """An eager step was taken: it is read when it is looked at, or when its ring is nearly full."""
        track = self.tracks[id(optimizer)]
        before, taken = self._before, track.ring.taken()
        if before is not None and before[0].get(id(track), -1) + 1 == taken:
            self._before = None
            held = variables if variables is not None else list(optimizer._trainable_variables)
            details = {id(v): g for v, g in zip(held, gradients, strict=False)}
            track.drain({taken - 1: track.moved(before[1], details)})
        elif taken - track.ring.read >= track.ring.rows - 1:
            track.drain()

    def wrap_function(self, original: Any) -> Any:
        """The call of a tf.function, with a look before and after it."""

        def call(function: Any, *args: Any, **kwargs: Any) -> Any:
            if self.closed or self._running or not tf.executing_eagerly() or tf.config.functions_run_eagerly():
                return original(function, *args, **kwargs)
            self._running = True
            try:
                self._begin(function)
                result = original(function, *args, **kwargs)
            finally:
                self._running = False
            self._end(function)
            return result

        return call

    def _function_begins(self, function: Any) -> None:
        """A graph is about to run: before those steps that are looked at, the weights are copied."""
        many = max((t.calls for t in self.tracks.values()), default=1)
        step, part = divmod(self._calls.get(function, 0), many)
        if part == 0:
            self._before = None
        if function in self._idle or part or not sparse_schedule(step):
            return
        weights = {id(v): v.numpy() for m in self.models for v in m.trainable_variables}
        for track in self.tracks.values():
            weights |= track.weights()
        self._before = ({id(t): t.ring.taken() for t in self.tracks.values()}, weights)

    def _function_ended(self, function: Any) -> None:
        calls = self._calls[function] = self._calls.get(function, 0) + 1
        before = self._before
        if function in self._idle or (before is None and calls % (ROWS // 2)):
            return
        trains = before is None
        for track in self.tracks.values():
            taken = track.ring.taken()
            steps = taken - before[0].get(id(track), 0) if before is not None else 0
            trains = trains or steps > 0 or track.calls > 1
            self._before = None if steps else self._before
            track.drain({taken - 1: track.moved(before[1])} if before is not None and steps == 1 else None)
        if not trains and calls > 2:
            self._idle.add(function)
