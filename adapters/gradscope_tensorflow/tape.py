"""GradientTape: tf.GradientTape under another name, whose gradients a scope observes: a loop changes by one word.

    with GradientTape() as tape:            # or: with scope.tape() as tape:
        loss = ...
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    ...
    print(current_scope().report())

The steps that count are those of Keras optimizers, eager or inside @tf.function.
"""

from __future__ import annotations

import gradscope
import tensorflow as tf
from gradscope.scope import Scope

from gradscope_tensorflow.watch import OPEN, Watch


class GradientTape(tf.GradientTape):
    """tf.GradientTape for a scope.

    scope: whose report tells about it; by default that of current_scope(), at the moment the tape is made.
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True, *, scope: Scope | None = None):
        super().__init__(persistent=persistent, watch_accessed_variables=watch_accessed_variables)
        self.scope = scope if scope is not None else current_scope()


def current_scope() -> Scope:
    """The scope of the latest watch that is open; a new one, for all tapes to come, when none is."""
    if not OPEN:
        scope = gradscope.watch()
        scope.watched = Watch(scope)
    found: Scope = OPEN[-1].scope
    return found
