"""GradscopeCallback: watch() for those who prefer model.fit(..., callbacks=[GradscopeCallback()])."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import gradscope
import keras
from gradscope.scope import Scope
from gradscope.settings import Settings
from keras.src.utils.io_utils import print_msg

BEGUN: weakref.WeakSet[GradscopeCallback] = weakref.WeakSet()
"""Callbacks whose fit() has not ended, as far as it told."""


class GradscopeCallback(keras.callbacks.Callback):
    """Watches the model while fit() runs, on whatever backend Keras has.

    Of a fit() that raises nothing is shown; the model is as if never watched once its error was dealt with.

    settings: as of gradscope.watch(). show: what is called with the report as text when training ends, by default
    Keras' own way of printing; None shows nothing. The report is there at any time: callback.scope.report().
    """

    def __init__(
        self,
        *,
        settings: Settings | Mapping[str, Any] | None = None,
        show: Callable[[str], Any] | None = print_msg,
    ):
        super().__init__()
        self.settings = settings
        self.show = show
        self.scope: Scope | None = None

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras calls it so
        """fit() begins: so does a new scope."""
        for left in [c for c in BEGUN if c is self or c.model is self.model]:
            left.end()
        self.scope = gradscope.watch(self.model, settings=self.settings)
        BEGUN.add(self)
        running = sys._getframe(1).f_locals.get("self")
        if isinstance(running, keras.callbacks.CallbackList):
            # fit() that raises calls no on_train_end, but it lets go of its list of callbacks
            weakref.finalize(running, self.scope.close).atexit = False

    def end(self) -> None:
        """Takes the watch away, if it is there."""
        BEGUN.discard(self)
        if self.scope is not None:
            self.scope.close()

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """fit() ended: the model is as if never watched."""
        if self.scope is None:
            return
        self.end()
        if self.show is not None:
            self.show(str(self.scope.report()))
