"""Reach: whether a backward pass reached a parameter of ours, told from the gradients before and after it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Seen = list[tuple[Tensor, int] | None]
"""(gradient, its version) of each parameter, None where there is none."""


class Reach:
    """The parameters whose gradients tell that a pass is ours."""

    def __init__(self) -> None:
        self.parameters: Sequence[Tensor] = []
        self._touched = -1

    def look(self) -> Seen:
        """The gradients as they are."""
        return [(g, g._version) if (g := p.grad) is not None else None for p in self.parameters]

    def changed(self, before: Seen) -> bool:
        """Whether a gradient is another one, or has other values, than before; first looks where it was last found."""
        if len(before) != len(self.parameters):
            return True
        if 0 <= self._touched < len(before) and is_other(self.parameters[self._touched], before[self._touched]):
            return True
        for at in reversed(range(len(before))):
            if is_other(self.parameters[at], before[at]):
                self._touched = at
                return True
        return False


def is_other(parameter: Tensor, before: tuple[Tensor, int] | None) -> bool:
    """Whether the gradient of a parameter is another one, or has been written to."""
    now = parameter.grad
    if now is None or before is None:
        return now is not None
    return now is not before[0] or now._version != before[1]
