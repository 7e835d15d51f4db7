"""Sharding: whether no process holds the whole weights of a model, so that none can run a step of it alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch

MARK = "_is_fsdp_managed_module"
"""What both generations of FSDP leave on the modules whose parameters they took."""


def is_sharded(models: Iterable[torch.nn.Module]) -> bool:
    """Whether a parameter of one of them is a DTensor (FSDP2, tensor parallelism), or one of their modules is held by
    FSDP1, whose flat parameters look like any other."""
    found = [m for model in models for m in model.modules()]
    fsdp = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    return any(
        isinstance(m, fsdp) or getattr(m, MARK, False) or any(hasattr(p, "full_tensor") for p in m.parameters(False))
        for m in found
    )
