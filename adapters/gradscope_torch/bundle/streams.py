"""The random streams before a call, in a bundle: the states of torch, Python and numpy, as tensors and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gradscope.errors import BundleError

from gradscope_torch.bundle.tensors import Shelf
from gradscope_torch.replay.streams import Streams

WORDS = 624
"""Of the Mersenne Twister, which Python, numpy and torch's CPU all draw from."""


def write_streams(streams: Streams, shelf: Shelf) -> dict[str, Any]:
    """Puts the states on a shelf, and says the rest."""
    number = sum(key.endswith(".host") for key in shelf.tensors)
    said: dict[str, Any] = {"number": number, "python": None, "numpy": None}
    shelf.put(f"{number}.host", streams.host)
    if streams.accelerator is not None:
        shelf.put(f"{number}.accelerator", streams.accelerator)
    if streams.python is not None:
        version, words, normal = streams.python
        shelf.put(f"{number}.python", torch.tensor(words, dtype=torch.int64))
        said["python"] = [version, normal]
    state = streams.numpy
    if state is not None and state["bit_generator"] == "MT19937":
        shelf.put(f"{number}.numpy", torch.from_numpy(state["state"]["key"].astype(np.int64)))
        said["numpy"] = [int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])]
    return said


def read_streams(said: Any, shelf: Shelf, where: str) -> Streams:
    """The states. Raises BundleError for what is none."""
    try:
        number = said["number"]
        host = shelf.tensors[f"{number}.host"]
        torch.Generator().set_state(host)
        return Streams(
            host=host,
            accelerator=accelerator(number, shelf),
            numpy=numpy_state(said["numpy"], number, shelf),
            python=python_state(said["python"], number, shelf),
        )
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise BundleError(f"{where}: its random streams are none: {str(error) or type(error).__name__}") from error


def python_state(said: Any, number: int, shelf: Shelf) -> Any:
    """The state of Python's stream, where it was noted."""
    if said is None:
        return None
    version, normal = said
    words = shelf.tensors[f"{number}.python"]
    check(version == 3 and words.shape == (WORDS + 1,) and in_words(words))
    check(int(words[WORDS]) <= WORDS and (normal is None or isinstance(normal, float)))
    return version, tuple(words.tolist()), normal


def numpy_state(said: Any, number: int, shelf: Shelf) -> Any:
    """The state of numpy's stream, where it was noted and was that of a Mersenne Twister."""
    if said is None:
        return None
    place, has_normal, normal = said
    key = shelf.tensors[f"{number}.numpy"]
    check(key.shape == (WORDS,) and in_words(key) and type(place) is int and 0 <= place <= WORDS)
    check(type(has_normal) is int and has_normal in {0, 1} and isinstance(normal, float))
    state = {"key": key.numpy().astype(np.uint32), "pos": place}
    return {"bit_generator": "MT19937", "state": state, "has_gauss": has_normal, "gauss": normal}


def accelerator(number: int, shelf: Shelf) -> Any:
    """The state of the accelerator's stream, where there was one and is one."""
    state = shelf.tensors.get(f"{number}.accelerator")
    if state is None or not torch.cuda.is_available():
        return None
    check(state.dtype is torch.uint8 and state.shape == torch.cuda.get_rng_state().shape)
    return state


def in_words(words: torch.Tensor) -> bool:
    """Whether all are whole numbers of 32 bits."""
    return words.dtype is torch.int64 and bool(((words >= 0) & (words < 2**32)).all())


def check(fits: bool) -> None:
    """Raises ValueError unless it fits."""
    if not fits:
        raise ValueError("they do not have the form of a Mersenne Twister")
