"""Clearing: whether an optimizer's gradients are cleared, and where in the loop.

Told from one small parameter, the probe, without waiting for an accelerator; values are looked at on the host alone,
or left to be fetched with the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Clearing:
    """What became of the gradients since the last step of one optimizer."""

    def __init__(self) -> None:
        self.probe: Tensor | None = None
        self.delivered = False
        """Whether a pass left a gradient on any parameter."""
        self._heard = False
        self._carried: Any = 0
        self._left: Tensor | None = None
        self._given = False
        self._nonzero = False
        self._suspicious = False

    def backward_begins(self) -> None:
        """What is left of the gradients of the last step?"""
        if self.probe is None or (not isinstance(self._carried, Tensor) and not self._carried):
            return
        now = self.probe.grad
        if now is None or now is not self._left:
            self._carried = 0
        elif not isinstance(self._carried, Tensor):
            left = local(now).count_nonzero() > 0  # not by its version: `grad.data.zero_()` leaves that as it was
            self._carried = int(left) if on_host(now) else left

    def backward_ended(self, parameters: Sequence[Tensor]) -> None:
        """A pass ended: did it leave a gradient on any parameter of the optimizer?"""
        self._heard = True
        self._given = self.probe is not None and self.probe.grad is not None
        self.look_for_delivery(parameters)
        if self._suspicious:
            self._nonzero = any_nonzero(parameters)

    def look_for_delivery(self, parameters: Sequence[Tensor]) -> None:
        """Whether any parameter has a gradient."""
        if not self.delivered:
            self.delivered = any(p.grad is not None for p in parameters)

    def abandoned(self, parameters: Sequence[Tensor]) -> bool | None:
        """Whether the gradients of the passes since the last step are gone, without a step; None: nobody knows."""
        if not self._given or self.probe is None:
            return None
        now = self.probe.grad
        if now is None:
            return True
        return on_host(now) and not local(now).count_nonzero() and not any_nonzero(parameters)

    def abandon(self) -> None:
        """The passes so far do not count."""
        self.delivered = self._given = self._nonzero = False

    def carried_over(self) -> Any:
        """Whether the passes since the last step added to its gradients; None when that is unknown, or there was no
        pass since."""
        return self._carried if self._heard and self.probe is not None else None

    def cleared_early(self, parameters: Sequence[Tensor], norms: Any) -> bool:
        """Whether gradients were delivered and are gone now, or zero. Zeros are seen on the host, from the second
        such step on: only then is it worth looking whether they were zero at the end of backward."""
        zero = isinstance(norms, list) and len(norms) > 0 and not any(norms)
        self._suspicious = zero
        if not self.delivered:
            return False
        return (zero and self._nonzero) or not any(p.grad is not None for p in parameters)

    def step_ended(self) -> None:
        """The step is over: what lies in the gradients now is the old."""
        self.delivered = self._heard = self._given = self._nonzero = False
        if self.probe is not None:
            self._left = self.probe.grad
            self._carried = int(self._left is not None)


def local(tensor: Tensor) -> Tensor:
    """The values of a tensor that lie here: looking at a sharded one whole would wait for the others."""
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    return tensor._values() if tensor.layout is torch.sparse_coo else tensor


def on_host(tensor: Tensor) -> bool:
    """Whether its values can be looked at at once."""
    return tensor.device.type == "cpu"


def any_nonzero(parameters: Sequence[Tensor]) -> bool:
    """Whether a gradient of the host holds anything but zeros."""
    gradients = (p.grad for p in parameters)
    return any(g is not None and on_host(g) and bool(local(g).count_nonzero()) for g in gradients)
