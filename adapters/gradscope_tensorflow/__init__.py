"""gradscope for TensorFlow and Keras 3.

    from gradscope_tensorflow import GradientTape       # tf.GradientTape, observed
    from gradscope_tensorflow import GradscopeCallback  # for model.fit(..., callbacks=[GradscopeCallback()])

Importing this package imports neither TensorFlow nor Keras; using one of its names does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

NAMES = {
    "GradientTape": "gradscope_tensorflow.tape",
    "GradscopeCallback": "gradscope_tensorflow.callback",
    "current_scope": "gradscope_tensorflow.tape",
}
__all__ = ["GradientTape", "GradscopeCallback", "current_scope"]


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
