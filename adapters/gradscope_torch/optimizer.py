"""What is read from an optimizer."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy


def kind_of(optimizer: torch.optim.Optimizer) -> Hashable:
    """What optimizers have in common that do the same work: their type, and the shapes of their parameters."""
    shapes = (() if is_lazy(p) else tuple(p.shape) for g in optimizer.param_groups for p in g["params"])
    return type(optimizer).__name__, tuple(shapes)


def found_inf(optimizer: Any) -> Any:
    """Whether a fused optimizer is about to skip its step, for a scaler found an overflow; a tensor where knowing that
    takes waiting."""
    found = getattr(optimizer, "found_inf", None)
    if not isinstance(found, Tensor):
        return False
    return bool(found) if found.device.type == "cpu" else found > 0


def learning_rate_of(optimizer: torch.optim.Optimizer) -> Any:
    """The largest learning rate of an optimizer's groups, a number or a tensor; None when they have none."""
    rates = [g["lr"] for g in optimizer.param_groups if g.get("lr") is not None]
    if any(isinstance(r, Tensor) for r in rates):
        return torch.stack([torch.as_tensor(r).detach().reshape(()) for r in rates]).max()
    return max(rates, default=None)
