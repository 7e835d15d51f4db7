"""The functions of torch that a bundle may name: those that compute tensors of tensors, told by torch's own schemas."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.overrides import get_overridable_functions, resolve_name

SPACES = ("torch.linalg.", "torch.fft.", "torch.special.", "torch.functional.", "torch.Tensor.", "torch.")
FUNCTIONAL = "torch.nn.functional."
GRAD = "torch.autograd.grad"
BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
)
OTHER = ("eq", "ne", "lt", "le", "gt", "ge", "invert", "getitem", "setitem", "reversed")
OPERATORS = frozenset(f"__{o}__" for o in (*OTHER, *(lead + name for name in BINARY for lead in ("", "r", "i"))))
PROPERTIES = frozenset({"T", "H", "mT", "mH", "real", "imag", "data"})
CASTS = frozenset(
    {"float", "double", "half", "bfloat16", "int", "long", "short", "char", "byte", "bool", "cfloat", "cdouble"}
)
COMPOSED = frozenset({"torch.Tensor.unique", "torch.functional.unique", "torch.Tensor.lu", "torch.functional.lu"})
"""Written in Python, of functions that have schemas."""
UNMANAGED = frozenset(
    {
        "set_",
        "set_data",
        "resize_",
        "resize_as_",
        "sparse_resize_",
        "resize_as_sparse_",
        "sparse_resize_and_clear_",
        "from_file",
        "pin_memory",
    }
)
"""They rebind or outgrow the memory of a tensor, or read files."""
BACKENDS = ("cudnn_", "miopen_", "mkldnn_", "fbgemm_", "quantize", "fused_moving_avg", "native_", "batch_norm_")
"""Kernels behind functions: what these check of their arguments, the kernels do not."""
UNCHECKED = ("embedding_bag", "grid_sample", "fractional_max_pool", "ldl_solve", "choose_qparams", "fake_quantize")
"""Functions whose kernels read and write where numbers in their arguments say, whether that is in bounds or not."""
INSIDES = frozenset({"indices", "crow_indices", "col_indices", "ccol_indices", "row_indices", "to_mkldnn"})
"""They give the insides of a tensor away, which nobody checks again."""
OPAQUE = frozenset({"Storage", "Stream", "QScheme"})
"""Types of arguments that are no plain data."""


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """name -> function, of all that a bundle may name. Nothing else is ever looked up."""
    listed = [f for found in get_overridable_functions().values() for f in found]
    named = {resolve_name(f): f for f in listed}
    return {name: f for name, f in named.items() if name and computes(name)} | {GRAD: torch.autograd.grad}


@cache
def names() -> dict[Any, str]:
    """function -> name."""
    return {f: name for name, f in functions().items()}


def name_of(function: Any) -> str | None:
    """The name under which a function can be found again, or None."""
    try:
        return names().get(function)
    except TypeError:
        return None


def computes(name: str) -> bool:
    """Whether the function of that name does nothing but compute tensors of tensors and plain data.

    An operator of Python, a cast, a property that is a tensor; a public function of torch.nn.functional; else one whose
    every schema in torch's registry takes plain data, and one of which takes tensors and returns some.
    """
    short = name.rpartition(".")[2]
    if short == "__get__":
        return name.split(".")[-2] in PROPERTIES
    if short.startswith("_"):
        return name.startswith("torch.Tensor.") and short in OPERATORS
    if short in UNMANAGED or short in INSIDES or short.startswith((*BACKENDS, *UNCHECKED)):
        return False
    if name.startswith(FUNCTIONAL) or name in COMPOSED:
        return True
    if name.startswith("torch.Tensor.") and short in CASTS:
        return True
    schemas = schemas_of(name)
    return bool(schemas) and not any(is_opaque(s) for s in schemas) and any(is_pure(s) for s in schemas)


def schemas_of(name: str) -> list[Any]:
    """The schemas that torch has registered for a function."""
    space = next((s for s in SPACES if name.startswith(s)), None)
    if space is None:
        return []
    short = name.removeprefix(space)
    prefix = space.split(".")[1] + "_" if space in SPACES[:3] else ""
    for key in (prefix + short, short):
        found = torch._C._jit_get_schemas_for_operator(f"aten::{key}")
        if found:
            return list(found)
    return []


def is_opaque(schema: Any) -> bool:
    """Whether it takes what is no plain data, or the name of a file."""
    return any(a.name == "filename" or any(o in str(a.type) for o in OPAQUE) for a in schema.arguments)


def is_pure(schema: Any) -> bool:
    """Whether it takes tensors and returns tensors."""
    takes = any("Tensor" in str(a.type) for a in schema.arguments)
    return takes and any("Tensor" in str(r.type) for r in schema.returns)
