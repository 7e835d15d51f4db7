"""The weights, buffers, modes and numbers of a model: put on a shelf, and given to a model that was built anew."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from gradscope.errors import BundleError
from torch import Tensor
from torch.nn.parameter import is_lazy

from gradscope_torch.bundle.tensors import Shelf, Unstorable
from gradscope_torch.names import clean, held_in

MOST_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One parameter or buffer, and the module that holds it."""

    owner: torch.nn.Module
    key: str
    tensor: Tensor
    is_parameter: bool
    persistent: bool = True


@dataclass(slots=True)
class Plan:
    """What a bundle says of one model. name: the variable that held it. kind: the name of its class. parameters: name
    -> whether it takes gradients. buffers: name -> whether it is persistent. tied: name -> the name of the one that it
    is. modes: module -> training. numbers: module -> its attributes that are numbers."""

    name: str
    kind: str
    parameters: dict[str, bool] = field(default_factory=dict)
    buffers: dict[str, bool] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    modes: dict[str, bool] = field(default_factory=dict)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)


def modules_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """path -> module, under each of its paths; those too that a module holds outside its registry. Without what
    compiles them."""
    seen = {id(m) for m in model.modules()}
    return dict(walk(model, (), frozenset(), seen))


def walk(
    module: torch.nn.Module, path: tuple[str, ...], above: frozenset[int], seen: set[int]
) -> Iterator[tuple[str, torch.nn.Module]]:
    """(path, module) of a module and of all below it. seen: ids of those that are registered somewhere."""
    yield clean(".".join(path)), module
    above |= {id(module)}
    for key, child in module._modules.items():
        if child is not None and id(child) not in above:
            yield from walk(child, (*path, key), above, seen)
    for key, child in held_in(module):
        if id(child) not in seen:
            seen.update(id(m) for m in child.modules())
            yield from walk(child, (*path, key), above, seen)


def weights_of(model: torch.nn.Module) -> dict[str, Part]:
    """name -> part, of every parameter and buffer; one that has several names is there under each."""
    found: dict[str, Part] = {}
    for path, module in modules_of(model).items():
        lead = f"{path}." if path else ""
        for key, p in module._parameters.items():
            if p is not None:
                found[lead + key] = Part(module, key, p, True)
        for key, b in module._buffers.items():
            if b is not None:
                found[lead + key] = Part(module, key, b, False, key not in module._non_persistent_buffers_set)
    return found


def numbers_of(module: torch.nn.Module) -> dict[str, Any]:
    """The public attributes of a module that are finite numbers."""
    held = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
    return {k: v for k, v in held.items() if type(v) in {int, bool} or (type(v) is float and math.isfinite(v))}


def plan_of(model: torch.nn.Module, name: str, lead: str, shelf: Shelf, missing: list[str]) -> Plan:
    """Puts the weights of a model on a shelf, their keys led by `lead`, and says what it is like."""
    plan = Plan(name, type(model).__name__)
    first: dict[int, str] = {}
    for path, part in weights_of(model).items():
        if id(part.tensor) in first:
            plan.tied[path] = first[id(part.tensor)]
            continue
        if is_lazy(part.tensor):
            missing.append(f"{path}: has no shape yet")
            continue
        first[id(part.tensor)] = path
        try:
            shelf.put(lead + path, part.tensor)
        except (Unstorable, NotImplementedError, RuntimeError) as error:
            missing.append(f"{path}: {error}")
            continue
        if part.is_parameter:
            plan.parameters[path] = part.tensor.requires_grad
        else:
            plan.buffers[path] = part.persistent
    for path, module in modules_of(model).items():
        plan.modes[path] = module.training
        numbers = numbers_of(module)
        if numbers:
            plan.numbers[path] = numbers
    return plan


def fit(model: torch.nn.Module, plan: Plan, lead: str, shelf: Shelf, where: str) -> list[str]:
    """Gives a model the weights, buffers and modes that were saved, and says what else differs. Raises BundleError that
    tells name by name where they do not fit."""
    parts = weights_of(model)
    strict = [*plan.parameters, *(n for n, persistent in plan.buffers.items() if persistent)]
    strict += [n for n, same in plan.tied.items() if same in strict]
    mine = [n for n, part in parts.items() if part.persistent]
    shapes = {n: shape_of(shelf, lead + plan.tied.get(n, n)) for n in strict}
    other = [n for n in mine if n in shapes and not is_lazy(parts[n].tensor) and shapes[n] != [*parts[n].tensor.shape]]
    lines = [
        *told("not in the model", [n for n in strict if n not in mine]),
        *told("not in the bundle", [n for n in mine if n not in strict]),
        *told(
            "of another shape",
            [f"{n}: {shapes[n]} in the bundle, {[*parts[n].tensor.shape]} in the model" for n in other],
        ),
    ]
    if lines:
        misfit = f"{where}: this {type(model).__name__} does not fit the saved {plan.kind}"
        raise BundleError("\n".join([misfit, *lines]))
    modules = modules_of(model)
    for name in (*plan.parameters, *plan.buffers, *plan.tied):
        give(modules, parts, name, shelf.get(lead + plan.tied.get(name, name)))
    for name, wants in plan.parameters.items():
        parts[name].tensor.requires_grad_(wants)
    for path, training in plan.modes.items():
        if path in modules:
            modules[path].training = training
    return untied(parts, plan)


def give(modules: dict[str, torch.nn.Module], parts: dict[str, Part], name: str, values: Tensor) -> None:
    """Sets one parameter or buffer; a buffer that is not persistent may be new."""
    part = parts.get(name)
    if part is None:
        path, _, key = name.rpartition(".")
        if path in modules:
            modules[path]._buffers[key] = values
            modules[path]._non_persistent_buffers_set.add(key)
        return
    if is_lazy(part.tensor):
        part.tensor.materialize(values.shape, device=values.device, dtype=values.dtype)
    if part.is_parameter:
        part.tensor.data = values
    elif part.tensor.shape == values.shape and part.tensor.dtype == values.dtype:
        with torch.no_grad():
            part.tensor.copy_(values)
    else:
        part.owner._buffers[part.key] = values


def shape_of(shelf: Shelf, key: str) -> list[int]:
    """The shape of a tensor as the model holds it."""
    shape = list(shelf.tensors[key].shape)
    return shape[:-1] if shelf.details.get(key, {}).get("complex") else shape


def told(what: str, names: list[str]) -> list[str]:
    """One line for the names of a kind of misfit."""
    if not names:
        return []
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return [f"  {what}: {'; '.join(names[:MOST_SHOWN])}{more}"]


def untied(parts: dict[str, Part], plan: Plan) -> list[str]:
    """What is one tensor in the bundle and two in the model, or the other way round."""
    apart = [
        f"{a} and {b} were one tensor, and are two in the model"
        for a, b in plan.tied.items()
        if a in parts and b in parts and parts[a].tensor is not parts[b].tensor
    ]
    names: dict[int, str] = {}
    for name in plan.parameters:
        other = names.setdefault(id(parts[name].tensor), name)
        if other != name:
            apart.append(f"{other} and {name} were two tensors, and are one in the model")
    return apart


def other_numbers(model: torch.nn.Module, plan: Plan) -> list[tuple[str, torch.nn.Module, str, Any]]:
    """(path, module, attribute, saved value) of numbers that modules hold and that were others at the failing step."""
    found = []
    for path, module in modules_of(model).items():
        now = numbers_of(module)
        saved = plan.numbers.get(path, {})
        found += [(path, module, k, v) for k, v in saved.items() if k in now and repr(now[k]) != repr(v)]
    return found
