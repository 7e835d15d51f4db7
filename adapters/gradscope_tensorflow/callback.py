"""GradscopeCallback: watch() for those who prefer model.fit(..., callbacks=[GradscopeCallback()])."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradscope
import keras
from gradscope.scope import Scope
from gradscope.settings import Settings
from keras.src.utils.io_utils import print_msg


class GradscopeCallback(keras.callbacks.Callback):
    """Watches the model while fit() runs, on whatever backend Keras has.

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
        if self.scope is not None:
            self.scope.close()
        self.scope = gradscope.watch(self.model, settings=self.settings)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """fit() ended: the model is as if never watched."""
        if self.scope is None:
            return
        self.scope.close()
        if self.show is not None:
            self.show(str(self.scope.report()))
