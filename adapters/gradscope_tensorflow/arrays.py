"""Arrays of whatever backend Keras runs on, told by their types, so that none is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from gradscope.row import Fetched


class Unseen:
    """Stands for a tensor whose numbers nobody fetched, where it matters only which tensor it is."""

    def __init__(self, tensor: Any):
        self.shape, self.dtype = tensor.shape, tensor.dtype


def is_eager(value: Any) -> bool:
    """Whether it is a tensor that has numbers: of TensorFlow, torch or JAX."""
    kind = type(value).__name__
    if kind in {"EagerTensor", "ArrayImpl", "Unseen"}:
        return True
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor) and value.device.type != "meta"


def is_float(value: Any) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return is_eager(value) and "float" in str(value.dtype)


def host(value: Any) -> Any:
    """The numbers of a tensor, or of a variable of Keras, as an array of the host."""
    value = value.value if isinstance(value, keras.Variable) else value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def fetched(arrays: Sequence[Any]) -> Fetched:
    """Brings the tensors among some arrays to the host, for gradscope.row.write()."""
    return {id(a): host(a).astype("f8").ravel() for a in arrays if is_eager(a)}


def tensors(value: Any) -> list[Any]:
    """The tensors with numbers in a nest of tuples, lists and mappings."""
    if is_eager(value):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [t for v in value for t in tensors(v)]
    return []
