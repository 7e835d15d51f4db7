"""The models that a bundle is replayed with, found in a file of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from gradscope.check import workload_of
from gradscope.errors import BundleError
from gradscope.script import failing_as_script
from gradscope.workload import Workload

from gradscope_torch.bundle.weights import Plan
from gradscope_torch.replay.run import unwrapped

BUILDERS = ("model", "models", "build_model", "build_models", "make_model", "make_models")


def models_in(names: Mapping[str, Any], plans: list[Plan], file: Path, name: str | None) -> list[torch.nn.Module]:
    """One model for each plan, of what a file defines: what `name` says, else what is there to be found.

    Without a name: what workload() trains, else what one of BUILDERS is or builds, else of each model the variable that
    has its name, the class that has that of its class, or the only class of the file. Raises BundleError where there is
    none, where there are too many or too few, and for a class that needs arguments.
    """
    if name is not None:
        if name not in names:
            raise BundleError(f"{file}: defines no {name!r}; models there: {known(names)}")
        return matched(made(names[name], file, name), plans, f"{file}::{name}")
    if callable(names.get("workload")):
        held = workload_of(dict(names), file).model
        return matched(made(held, file, "workload"), plans, f"{file}: workload()")
    for one in BUILDERS:
        if one in names and (isinstance(names[one], torch.nn.Module) or inspect.isfunction(names[one])):
            return matched(made(names[one], file, one), plans, f"{file}::{one}")
    return [found(names, plan, file) for plan in plans]


def found(names: Mapping[str, Any], plan: Plan, file: Path) -> torch.nn.Module:
    """The model for one plan."""
    if isinstance(names.get(plan.name), torch.nn.Module):
        return unwrapped(names[plan.name])
    if is_model_class(names.get(plan.kind)):
        return only(made(names[plan.kind], file, plan.kind), f"{file}::{plan.kind}")
    own = [n for n, value in names.items() if is_model_class(value) and value.__module__ == names.get("__name__")]
    if len(own) == 1:
        return only(made(names[own[0]], file, own[0]), f"{file}::{own[0]}")
    raise BundleError(
        f"{file}: which of it is the saved {plan.kind} ({plan.name!r})? models there: {known(names)}; say "
        f"{file}::NAME, or define build_model() that returns it"
    )


def made(value: Any, file: Path, name: str) -> Any:
    """What a model, or a class or function of models, comes to. Raises BundleError when it needs arguments,
    ScriptFailed for what it raises."""
    if isinstance(value, Workload):
        value = value.model
    if isinstance(value, torch.nn.Module) or not callable(value):
        return value
    wanted = needed_by(value)
    if wanted:
        arguments = ", ".join(f"{w}=..." for w in wanted)
        raise BundleError(
            f"{file}::{name}: needs arguments ({', '.join(wanted)}); write a function that gives them, such as\n"
            f"  def build_model():\n      return {name}({arguments})\nand say {file}::build_model"
        )
    with failing_as_script(file):
        return value()


def needed_by(function: Any) -> list[str]:
    """The parameters of a function or class that have no default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in free]


def matched(value: Any, plans: list[Plan], where: str) -> list[torch.nn.Module]:
    """One model for each plan: by the names of a dict, else in their order."""
    expected = ", ".join(f"{p.name!r} ({p.kind})" for p in plans)
    if isinstance(value, Mapping):
        absent = [p.name for p in plans if p.name not in value]
        if absent:
            raise BundleError(f"{where}: gives no {', '.join(map(repr, absent))}; the bundle has {expected}")
        value = [value[p.name] for p in plans]
    models = list(value) if isinstance(value, list | tuple) else [value]
    if len(models) != len(plans):
        raise BundleError(
            f"{where}: gives {len(models)} model{'s' * (len(models) != 1)}; the bundle has {len(plans)}: {expected}; "
            + ("return a dict of their names" if len(plans) > 1 else "return that one")
        )
    return [only(one, where) for one in models]


def only(value: Any, where: str) -> torch.nn.Module:
    """The value, which must be a model."""
    if not isinstance(value, torch.nn.Module):
        raise BundleError(f"{where}: expected a torch.nn.Module, or what builds one; got {type(value).__name__}")
    model: torch.nn.Module = unwrapped(value)
    return model


def is_model_class(value: Any) -> bool:
    """Whether it is a class of models."""
    return isinstance(value, type) and issubclass(value, torch.nn.Module)


def known(names: Mapping[str, Any]) -> str:
    """The models and classes of models that a file defines."""
    own = [n for n, v in names.items() if isinstance(v, torch.nn.Module)]
    own += [n for n, v in names.items() if is_model_class(v) and v.__module__ == names.get("__name__")]
    return ", ".join(own) or "none"
