"""file:line of the code that created a layer, seen while it was built."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from gradscope.frames import users_line
from gradscope.patches import Patches


class Sources:
    """Where layers were created."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[Any, str]] = {}

    def install(self, patches: Patches) -> None:
        """From now on every layer that is built is noted."""
        import keras

        def make(original: Any) -> Any:
            def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
                layer = original(cls, *args, **kwargs)
                line = users_line(sys._getframe(1))
                if line is not None:
                    self._lines[id(layer)] = (weakref.ref(layer), line)
                return layer

            return new

        patches.wrap(keras.Layer, "__new__", make)

    def of(self, layer: Any) -> str | None:
        """file:line, or None when the layer was not seen being built."""
        found = self._lines.get(id(layer))
        return found[1] if found is not None and found[0]() is layer else None
