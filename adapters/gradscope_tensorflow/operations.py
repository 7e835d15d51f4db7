"""Operations: every operation of an eager step, until the first accident: which one made a value that is not finite of
values that are."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from gradscope.frames import users_line
from gradscope.guard import guarded
from gradscope.origin import Origin
from tensorflow.python.framework import op_callbacks

from gradscope_tensorflow.arrays import is_float
from gradscope_tensorflow.forward import Forward

SILENT = frozenset({"Identity", "ReadVariableOp", "Reshape", "Cast", "Squeeze", "ExpandDims", "Const", "Fill", "Shape"})
"""Operations that make no value of their own."""


class Operations:
    """Hears of every eager operation while it is open. A value that was not finite in a step that went well, such as
    the mask of an attention, is none that an accident comes from."""

    def __init__(self, forward: Forward, failures: dict[str, str]):
        self.forward = forward
        self._hear = guarded("tensorflow operations", failures, self._happened)
        self.backward = False
        self._modules: dict[int, str] = {}
        self._found: list[Origin] = []
        self._benign: set[tuple[str, str | None]] = set()
        self._open = False

    def install(self) -> None:
        """From now on every operation is heard."""
        op_callbacks.add_op_callback(self._hear)
        self._open = True

    def close(self) -> None:
        """Hears nothing any more."""
        if self._open:
            op_callbacks.remove_op_callback(self._hear)
        self._open = False
        self._modules, self._found = {}, []

    def origin(self, step: int) -> Origin | None:
        """Where the accident of this step began; nothing is heard after it."""
        fresh = [p for p in self._found if (p.op, p.source) not in self._benign]
        self.close()
        return replace(fresh[0], step=step) if fresh else None

    def went_well(self) -> None:
        """The step is over, and everything that counts in it was finite."""
        self._benign |= {(p.op, p.source) for p in self._found}
        self._modules, self._found = {}, []

    def _happened(self, op: Any, inputs: Any, _attrs: Any, outputs: Any, *_rest: Any, **_options: Any) -> None:
        if not (self.forward.tapes or self.backward):
            return
        kind = op.decode() if isinstance(op, bytes) else op
        for out in outputs:
            if is_float(out):
                if self.forward.stack:
                    self._modules[id(out)] = self.forward.current_module()
                if kind not in SILENT and not finite(out) and all(finite(x) for x in inputs):
                    self._found.append(self._place(kind, inputs))

    def _place(self, kind: str, inputs: Any) -> Origin:
        stack = self.forward.stack
        phase = "backward" if self.backward else "loss" if self._in_loss() else "forward"
        module = self.forward.current_module()
        if not stack:
            module = next((self._modules[id(x)] for x in inputs if id(x) in self._modules), module)
        line = users_line(sys._getframe(2))
        if stack and type(stack[-1]).__module__.startswith("keras."):
            line = self.forward.names.source(stack[-1]) or line
        return Origin(phase, -1, kind, module, line)

    def _in_loss(self) -> bool:
        """Whether the model has returned already."""
        return bool(self.forward.in_loss) or (not self.forward.stack and bool(self.forward.seen))


def finite(tensor: Any) -> bool:
    """Whether all numbers of a tensor are; true for what holds none."""
    if not is_float(tensor):
        return True
    values = np.asarray(tensor).ravel()
    if values.dtype.kind != "f" or values.itemsize < 4:
        values = values.astype("f4")
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.dot(values, values)) or np.isfinite(values).all())
