"""TensorFlow under `check`: gradients come from tapes, and graphs run eagerly."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from gradscope.patches import Patches

from gradscope_tensorflow.backend import numbers_in
from gradscope_tensorflow.by_hand import StepsByHand
from gradscope_tensorflow.operations import Operations
from gradscope_tensorflow.recorder import Recorder


class TensorFlowBackend:
    """Wrappers around tf.GradientTape."""

    scales = True
    """Whether a loss that an optimizer has scaled has a number."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.operations = Operations(recorder.forward, recorder.scope.failures)
        self.by_hand = StepsByHand(recorder)
        self._eager = False

    def install(self, patches: Patches) -> None:
        """Graphs run eagerly from now on."""
        self._eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        self.recorder.operations = self.operations
        self.operations.install()
        patches.wrap(tf.GradientTape, "__enter__", self._tape_enters)
        patches.wrap(tf.GradientTape, "__exit__", self._tape_exits)
        patches.wrap(tf.GradientTape, "gradient", self._gradient)

    def close(self) -> None:
        """Graphs are graphs again."""
        self.by_hand.close()
        self.operations.close()
        tf.config.run_functions_eagerly(self._eager)

    def training(self) -> bool:
        """Whether a tape is open."""
        return self.recorder.forward.tapes > 0

    def seen(self, gradients: list[Any]) -> bool:
        """Whether the gradients have numbers."""
        return numbers_in(gradients)

    def step_begins(self, optimizer: Any) -> None:
        """Nothing is to be done."""

    def _tape_enters(self, original: Any) -> Any:
        def enter(tape: Any) -> Any:
            if not self.recorder.forward.tapes:
                self.by_hand.tape_opens()
            self.recorder.forward.tapes += 1
            return original(tape)

        return enter

    def _tape_exits(self, original: Any) -> Any:
        def leave(tape: Any, *args: Any) -> Any:
            self.recorder.forward.tapes = max(0, self.recorder.forward.tapes - 1)
            return original(tape, *args)

        return leave

    def _gradient(self, original: Any) -> Any:
        def gradient(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            alone = not self.recorder.forward.tapes  # inside another tape it is a penalty's gradient, no step's
            if alone:
                self.recorder.differentiated(target)
            outer, self.operations.backward = self.operations.backward, True
            try:
                found = original(tape, target, sources, *args, **kwargs)
            finally:
                self.operations.backward = outer
            if alone:
                self.by_hand.differentiated(sources, found)
            return found

        return gradient
