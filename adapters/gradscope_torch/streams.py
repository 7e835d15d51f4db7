"""Streams: the random streams that a forward pass may draw from, noted as they are and put back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Streams:
    """The states of torch's streams (the host's, and that of the current accelerator), numpy's and Python's."""

    host: torch.Tensor
    python: Any
    numpy: Any
    accelerator: torch.Tensor | None = None


def current_streams() -> Streams:
    """The streams as they are now; nothing is drawn."""
    device = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return Streams(torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False), device)


def set_streams(streams: Streams) -> None:
    """Puts the streams to what they were."""
    torch.set_rng_state(streams.host)
    random.setstate(streams.python)
    np.random.set_state(streams.numpy)
    if streams.accelerator is not None:
        torch.cuda.set_rng_state(streams.accelerator)


@contextlib.contextmanager
def same_streams() -> Iterator[None]:
    """Whatever is drawn inside, the streams are afterwards as they were before."""
    before = current_streams()
    try:
        yield
    finally:
        set_streams(before)
