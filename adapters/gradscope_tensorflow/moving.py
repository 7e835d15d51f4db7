"""Moving statistics of the Keras layers that ran in training mode, and which of them never moved."""

from __future__ import annotations

from typing import Any

from gradscope.moving import moving, never_moved
from keras.src.backend.common import global_state

from gradscope_tensorflow.arrays import host
from gradscope_tensorflow.names import Names


class Moving:
    """The layers with moving statistics that ran in training mode."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, dict[str, Any]]] = {}

    def ran(self, layer: Any, kwargs: dict[str, Any]) -> None:
        """A layer ended its call, inside that of the layer around it. kwargs: what it was called with."""
        if not layer._non_trainable_variables or not layer.trainable or not in_training(kwargs):
            return
        by_name = {v.name: v for v in layer._non_trainable_variables}
        held = {name: by_name[name] for name in moving(by_name)}
        if held:
            self._seen[id(layer)] = layer, held

    def unmoved(self, names: Names) -> list[tuple[str, str]]:
        """(name, name of the layer) of those that never moved."""
        found: list[tuple[str, str]] = []
        for layer, held in self._seen.values():
            if names.known(layer) and never_moved({name: host(v) for name, v in held.items()}):
                found += [names.parameter(v, name) for name, v in held.items()]
        return found


def in_training(kwargs: dict[str, Any]) -> bool:
    """Whether the call that just ended ran in training mode: it was told so, or the layer around it was."""
    given = kwargs.get("training")
    if given is None:
        context = global_state.get_global_attribute("current_call_ctx")
        given = context.get_value("training") if context is not None else None
    return given is not None and bool(given)
