"""Shelf: tensors in one safetensors file, and beside it what that format cannot say of them.

The file holds dense, contiguous values. A tensor's details, as JSON: complex (pairs of reals), order (its dimensions,
the slowest first, where that is not their own order), layout, grad, device, name (of the user's variable).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from gradscope.errors import BundleError, MissingFramework
from torch import Tensor

from gradscope_torch.replay.arguments import LABEL

try:
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    raise MissingFramework(
        "steps are saved and replayed with safetensors, which is not installed: "
        "pip install 'gradscope-diagnostics[torch]'"
    ) from missing

SPARSE = {
    "sparse_coo": Tensor.to_sparse,
    "sparse_csr": Tensor.to_sparse_csr,
    "sparse_csc": Tensor.to_sparse_csc,
}
DETAILS = {"complex": bool, "order": list, "layout": str, "grad": bool, "device": str, "name": str}
DEVICES = ("cpu", "cuda", "mps", "xpu")


class Unstorable(Exception):
    """A tensor that has no values to store, or not all of them."""


class Shelf:
    """The tensors of a file, by their keys."""

    def __init__(self, tensors: dict[str, Tensor] | None = None, details: dict[str, dict[str, Any]] | None = None):
        self.tensors = {} if tensors is None else tensors
        self.details = {} if details is None else details

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, key: str, tensor: Tensor, **details: Any) -> None:
        """Stores a copy of a tensor. Raises Unstorable."""
        values, found = stored(tensor)
        self.tensors[key] = values
        found |= {k: v for k, v in details.items() if v}
        if found:
            self.details[key] = found

    def write(self, file: Path) -> None:
        """Writes the file."""
        save_file(self.tensors, str(file))

    # -- reading ---------------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, file: Path, details: dict[str, Any]) -> Shelf:
        """The tensors of a file. Raises BundleError for one that is none, and for details that do not fit."""
        try:
            found = load_file(str(file))
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise BundleError(f"{file}: cannot be read as safetensors: {error}") from error
        for key, one in details.items():
            if key not in found:
                raise BundleError(f"{file}: holds no tensor {key!r}, of which {file.parent / 'bundle.json'} speaks")
            check_details(one, found[key], f"{file}: tensor {key!r}")
        return cls(found, details)

    def get(self, key: str) -> Tensor:
        """The tensor as it was, on its device where that is here, else on the CPU."""
        values, details = self.tensors[key], self.details.get(key, {})
        if details.get("complex"):
            values = torch.view_as_complex(values)
        order = details.get("order")
        if order:
            values = values.permute(order).contiguous().permute([order.index(d) for d in range(len(order))])
        if details.get("layout"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch tells of each layout that it is new
                values = SPARSE[details["layout"]](values)
        values = values.to(here(details.get("device", "cpu")))
        if details.get("grad"):
            values.requires_grad_()
        if details.get("name"):
            setattr(values, LABEL, details["name"])
        return values


def stored(tensor: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """(dense and contiguous copy on the CPU, details)."""
    if hasattr(tensor, "full_tensor"):
        raise Unstorable("it is sharded over processes")
    if tensor.is_quantized or tensor.is_nested or tensor.is_meta:
        raise Unstorable("it is quantized, nested or without values")
    details: dict[str, Any] = {}
    values = tensor.detach()
    if tensor.layout is not torch.strided:
        details["layout"] = str(tensor.layout).removeprefix("torch.")
        if details["layout"] not in SPARSE:
            raise Unstorable(f"its layout is {details['layout']}")
        values = values.to_dense()
    elif (order := order_of(values)) != list(range(values.dim())):
        details["order"] = order
    if tensor.device.type != "cpu":
        details["device"] = str(tensor.device)
    if values.is_complex():
        details["complex"] = True
        values = torch.view_as_real(values.resolve_conj())
    return values.resolve_neg().to("cpu", copy=True).contiguous(), details


def order_of(tensor: Tensor) -> list[int]:
    """The dimensions of a tensor, from that of the longest stride to that of the shortest."""
    if tensor.is_contiguous() or 0 in tensor.stride():
        return list(range(tensor.dim()))
    return sorted(range(tensor.dim()), key=lambda d: -tensor.stride(d))


def check_details(details: Any, tensor: Tensor, where: str) -> None:
    """Raises BundleError for details that no such tensor can have."""
    if not isinstance(details, dict):
        raise BundleError(f"{where}: its details are {type(details).__name__}; expected an object")
    for key, value in details.items():
        if key not in DETAILS or not isinstance(value, DETAILS[key]):
            raise BundleError(f"{where}: unknown detail {key!r}; known: {', '.join(DETAILS)}")
    pairs = bool(details.get("complex"))
    fits = not pairs or (tensor.is_floating_point() and tensor.dim() and tensor.shape[-1] == 2)
    order = details.get("order", [])
    whole = all(type(d) is int for d in order) and sorted(order) == list(range(tensor.dim() - pairs))
    if not fits or (order and not whole):
        raise BundleError(f"{where}: its details do not fit its shape {list(tensor.shape)}")
    if details.get("layout", "sparse_coo") not in SPARSE:
        raise BundleError(f"{where}: layout {details['layout']!r}; known: {', '.join(SPARSE)}")
    if details.get("grad") and not (tensor.is_floating_point() or pairs):
        raise BundleError(f"{where}: a tensor of {tensor.dtype} has no gradient")
    device_named(details.get("device", "cpu"), where)


def device_named(name: Any, where: str) -> torch.device:
    """The device of that name, wherever it is. Raises BundleError."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError):
        device = None
    if not isinstance(name, str) or device is None or device.type not in DEVICES:
        raise BundleError(f"{where}: device {name!r:.80}; known: {', '.join(DEVICES)}")
    return device


def here(name: str) -> torch.device:
    """The device of that name where this machine has it, else the CPU."""
    device = torch.device(name)
    known = device.type == "cpu" or getattr(torch, device.type).is_available()
    if device.type == "cuda" and known and (device.index or 0) >= torch.cuda.device_count():
        return torch.device("cuda", 0)
    return device if known else torch.device("cpu")
