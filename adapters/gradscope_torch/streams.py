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
    """The states of torch's streams (the host's, and that of the current accelerator), numpy's and Python's; None for
    one that was not noted."""

    host: torch.Tensor
    accelerator: torch.Tensor | None = None
    numpy: Any = None
    python: Any = None


def current_streams(*, beside: bool = True) -> Streams:
    """The streams as they are now; nothing is drawn. beside: numpy's and Python's too, which take the most time."""
    device = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    if not beside:
        return Streams(torch.get_rng_state(), device)
    return Streams(torch.get_rng_state(), device, np.random.get_state(legacy=False), random.getstate())


def set_streams(streams: Streams) -> None:
    """Puts the streams to what they were."""
    torch.set_rng_state(streams.host)
    if streams.accelerator is not None:
        torch.cuda.set_rng_state(streams.accelerator)
    if streams.numpy is not None:
        np.random.set_state(streams.numpy)
    if streams.python is not None:
        random.setstate(streams.python)


def draws_beside(before: Streams) -> bool:
    """Whether numpy's or Python's stream has moved on."""
    if before.numpy is None:
        return False
    state = np.random.get_state(legacy=False)["state"]
    return bool(
        state["pos"] != before.numpy["state"]["pos"]
        or (state["key"] != before.numpy["state"]["key"]).any()
        or random.getstate() != before.python
    )


@contextlib.contextmanager
def same_streams() -> Iterator[None]:
    """Whatever is drawn inside, the streams are afterwards as they were before."""
    before = current_streams()
    try:
        yield
    finally:
        set_streams(before)
