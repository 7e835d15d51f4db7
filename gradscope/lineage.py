"""Lineage: where an array of a forward pass came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lineage:
    """operation: the last one that shaped the range of the values. layer: the layer before it, by its dotted name.
    convolutional: the second dimension counts the units of that layer. is_output: the whole model returned it.
    unit: a softmax over one unit. data: it was computed from inputs alone."""

    operation: str = ""
    layer: str = ""
    convolutional: bool = False
    is_output: bool = False
    unit: bool = False
    data: bool = False

    def through(
        self, operation: str, layer: str, shape: Sequence[int], *, convolutional: bool | None = None
    ) -> Lineage:
        """The lineage of what an activation function made of the array, in that shape."""
        one_unit = "softmax" in operation and len(shape) > 0 and shape[-1] == 1
        over_channels = self.convolutional if convolutional is None else convolutional
        return Lineage(operation, layer, over_channels, self.is_output, one_unit)
