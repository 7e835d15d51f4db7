"""Streams: the random streams that a forward pass may draw from, noted as they are and put back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch

LOOKS, AGAIN = 4, 16
"""So many calls of a model are looked at to learn what it draws from, and then every so manyth."""
DRAWING = frozenset(
    [
        "alpha_dropout",
        "bernoulli",
        "bernoulli_",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "exponential_",
        "feature_alpha_dropout",
        "gumbel_softmax",
        "log_normal_",
        "multinomial",
        "normal",
        "normal_",
        "poisson",
        "rand_like",
        "randint_like",
        "randn_like",
        "rrelu",
        "uniform_",
    ]
)
"""Functions that draw from torch's stream."""


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
    """Which streams a model draws from, learned from its calls: to note them all takes longer than anything else that
    is done in an ordinary step. Of one that never drew they are noted in every sixteenth call, in case it begins."""

    def __init__(self) -> None:
        self._calls: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()
        self._host: WeakSet[torch.nn.Module] = WeakSet()
        self._beside: WeakSet[torch.nn.Module] = WeakSet()

    def note(self, module: torch.nn.Module) -> Streams | None:
        """The streams that the model may draw from; None when there are none such."""
        count = self._calls[module] = self._calls.get(module, -1) + 1
        if count < LOOKS or count % AGAIN == 0:
            return current_streams()
        if module in self._beside:
            return current_streams()
        return current_streams(beside=False) if module in self._host else None

    def drew(self, module: torch.nn.Module, before: Streams | None) -> None:
        """A model was called, with the streams as they were before, and its loss was made."""
        if before is None or before.numpy is None:
            return
        if has_dropout(module) or torch.cuda.is_initialized() or not torch.equal(before.host, torch.get_rng_state()):
            self._host.add(module)
        if random.getstate() != before.python or not same_state(np.random.get_state(legacy=False), before.numpy):
            self._beside.add(module)


def same_state(left: Any, right: Any) -> bool:
    """Whether two states of a stream of numpy are the same, of whatever generator."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_state(v, right[k]) for k, v in left.items())
    return bool(np.array_equal(left, right))


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
