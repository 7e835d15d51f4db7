"""Bounds: what is checked of the arguments of functions whose kernels do not do it, before a bundle's call is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from gradscope.errors import BundleError
from torch import Tensor

MOST_REPEATS = 2**31


def bounded(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    """The function, or one that raises BundleError first for arguments that it would read out of bounds with."""
    check = CHECKS.get(getattr(function, "__name__", ""))
    if check is None:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        wrong = check(*args, **kwargs)
        if wrong:
            raise BundleError(f"{where}: {wrong}")
        return function(*args, **kwargs)

    return call


def labels_of_ctc(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, *_rest: Any, **_options: Any
) -> str:
    """What is wrong with the labels of ctc_loss(): those that its lengths make it read must be classes."""
    lengths, given = torch.as_tensor(target_lengths), torch.as_tensor(input_lengths)
    if outside(lengths, targets.numel() + 1) or outside(given, log_probs.shape[0] + 1):
        return "ctc_loss() of lengths beyond what there is"
    if targets.dim() > 1:
        read = targets[torch.arange(targets.shape[1]) < lengths.reshape(-1, 1)]
    else:
        read = targets[: int(lengths.sum())]
    classes = log_probs.shape[-1]
    return f"ctc_loss() of labels that are none of the {classes} classes" if outside(read, classes) else ""


def repeats_of(*args: Any, **kwargs: Any) -> str:
    """What is wrong with the repeats of repeat_interleave(): their sum must not overflow, and be what it is said to."""
    repeats = kwargs.get("repeats", args[1] if len(args) > 1 else args[0] if args else None)
    if not isinstance(repeats, Tensor):
        return ""
    if outside(repeats, MOST_REPEATS):
        return "repeat_interleave() of repeats that are negative or too many"
    size = kwargs.get("output_size")
    if size is not None and (repeats.numel() == 1 or int(repeats.sum()) != size):
        return f"repeat_interleave() to {size}, which may not be what its repeats add up to"
    return ""


def outside(numbers: Tensor, limit: int) -> bool:
    """Whether one of some numbers is not in [0, limit)."""
    return bool(((numbers < 0) | (numbers >= limit)).any())


CHECKS: dict[str, Callable[..., str]] = {"ctc_loss": labels_of_ctc, "repeat_interleave": repeats_of}
