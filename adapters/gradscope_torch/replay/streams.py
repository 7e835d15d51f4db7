"""Streams: the random streams that a forward pass may draw from, noted as they are and put back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LOOKS = 4
"""So many calls are looked at to learn what models draw from."""


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


class Habits:
    """Which streams models draw from, learned from their first calls: to note them all takes longer than anything else
    that is done in an ordinary step."""

    def __init__(self) -> None:
        self._looks = LOOKS
        self._host = self._beside = True
        self._drawn_host = self._drawn_beside = False

    def note(self) -> Streams | None:
        """The streams that may be drawn from; None when there are none such."""
        return current_streams(beside=self._beside) if self._host or self._beside else None

    def drew(self, module: torch.nn.Module, before: Streams | None) -> None:
        """A model was called, with the streams as they were before, and its loss was made."""
        if self._looks == 0 or before is None:
            return
        self._looks -= 1
        self._drawn_host |= has_dropout(module) or not torch.equal(before.host, torch.get_rng_state())
        state, known = np.random.get_state(legacy=False)["state"], before.numpy["state"]
        moved = state["pos"] != known["pos"] or bool((state["key"] != known["key"]).any())
        self._drawn_beside |= moved or random.getstate() != before.python
        if self._looks == 0:
            self._beside = self._drawn_beside
            self._host = self._drawn_host or torch.cuda.is_initialized()


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether a module of the model may draw in training, though it may not have done so yet."""
    return any("drop" in type(m).__name__.lower() for m in model.modules())


@contextlib.contextmanager
def same_streams() -> Iterator[None]:
    """Whatever is drawn inside, the streams are afterwards as they were before."""
    before = current_streams()
    try:
        yield
    finally:
        set_streams(before)
