"""Anatomy: which layers a model runs, what follows each of them, and what its output comes from; seen in one pass.

Functions are seen as torch calls them, so that activations written as calls are found as those made as modules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from gradscope.errors import CannotApply
from gradscope.regimen import first_pair
from gradscope.workload import Workload
from torch import nn
from torch.overrides import TorchFunctionMode

ACTIVATIONS = frozenset(
    [
        "celu",
        "elu",
        "gelu",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "log_softmax",
        "logsigmoid",
        "mish",
        "prelu",
        "relu",
        "relu6",
        "rrelu",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "tanh",
    ]
)
SHAPING = frozenset(
    [
        "__getitem__",
        "clone",
        "contiguous",
        "flatten",
        "permute",
        "reshape",
        "squeeze",
        "t",
        "transpose",
        "unsqueeze",
        "view",
    ]
)
"""Functions that leave the values as they are."""
NORMALIZING = frozenset(["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"])
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(slots=True)
class Call:
    """One function call: its name, the values it was given and the one it gave, and the names of the modules that
    were being called, the innermost last."""

    name: str
    given: tuple[Any, ...]
    made: Any
    within: tuple[str, ...]


@dataclass(slots=True)
class Ran:
    """One call of a layer. hidden: an activation takes what it gives. normalized: a normalization does."""

    name: str
    layer: nn.Module
    given: torch.Tensor
    made: torch.Tensor
    hidden: bool = False
    normalized: bool = False


@dataclass(slots=True)
class Anatomy:
    """What one pass showed. layers: in the order they ran. activations: names of the modules that are one, and what
    they apply; those whose call makes the output are in `last` alone. output: what the model gave. ending: name of the
    activation that makes it, or "" when none does; last: name of its module, or None when a function was called."""

    layers: list[Ran] = field(default_factory=list)
    activations: dict[str, str] = field(default_factory=dict)
    output: Any = None
    ending: str = ""
    last: str | None = None


class Witness(TorchFunctionMode):
    """Keeps the calls of functions, and what they gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.within: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls the function and notes it."""
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").removesuffix("_") or ""
        given = tuple(a for a in (*args, *(kwargs or {}).values()) if isinstance(a, torch.Tensor))
        if isinstance(made, torch.Tensor) and given:
            self.calls.append(Call(name, given, made, tuple(self.within)))
        return made


def anatomy(model: nn.Module, inputs: Any) -> Anatomy:
    """What a pass of the model over a batch shows; the pass runs on a copy, without gradients, in evaluation mode."""
    one = copy.deepcopy(model).eval()
    own = dict(model.named_modules(remove_duplicate=False))
    witness, found, handles = Witness(), Anatomy(), []
    for name, module in one.named_modules():
        handles += hooks(module, name, own, witness, found)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), witness:
        found.output = one(inputs)
    for handle in handles:
        handle.remove()
    read_functions(found, witness.calls)
    return found


def hooks(module: nn.Module, name: str, own: dict[str, nn.Module], witness: Witness, found: Anatomy) -> list[Any]:
    """The hooks that tell within which module a function is called, and what a layer was given and gave."""

    def enter(_module: nn.Module, _given: Any) -> None:
        witness.within.append(name)

    def leave(called: nn.Module, given: Any, made: Any) -> None:
        witness.within.pop()
        if isinstance(called, LAYERS) and given and isinstance(made, torch.Tensor):
            found.layers.append(Ran(name, own[name], given[0], made))

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def read_functions(found: Anatomy, calls: list[Call]) -> None:
    """Fills in what follows the layers, and what the output comes from."""
    for ran in found.layers:
        after = {c.name for c in calls if any(g is ran.made for g in c.given)}
        ran.hidden, ran.normalized = bool(after & ACTIVATIONS), bool(after & NORMALIZING)
    value = found.output
    made = {id(c.made): c for c in calls if c.name in ACTIVATIONS | SHAPING}
    while (call := made.pop(id(value), None)) is not None and call.name in SHAPING:
        value = call.given[0]
    modules = {c.within[-1]: c.name for c in calls if c.name in ACTIVATIONS and c.within}
    if call is not None:
        found.ending = call.name
        found.last = call.within[-1] if call.within else None
    found.activations = {n: a for n, a in modules.items() if n != found.last}


def tensor_input(workload: Workload, remedy: str) -> torch.Tensor:
    """The inputs of the first batch. Raises CannotApply where they are no tensor."""
    inputs = first_pair(workload, remedy)[0]
    if not isinstance(inputs, torch.Tensor):
        raise CannotApply(f"{remedy}: the inputs are no tensor but a {type(inputs).__name__}")
    return inputs


def floating_input(workload: Workload, remedy: str) -> torch.Tensor:
    """The inputs of the first batch. Raises CannotApply where they are no tensor of floating-point numbers."""
    inputs = tensor_input(workload, remedy)
    if not inputs.is_floating_point():
        raise CannotApply(f"{remedy}: the inputs are {inputs.dtype}: indices, not measurements")
    return inputs


def builder(workload: Workload) -> Callable[[], nn.Module]:
    """A function that gives a model of its own each time: the workload's own function, or a copy of its model."""
    given = workload.model
    if isinstance(given, nn.Module):
        return lambda: copy.deepcopy(given)
    build: Callable[[], nn.Module] = given
    return build
