"""The names people know: dotted names of parameters and modules, and of the variables that hold them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from types import FrameType
from typing import Any

import torch
from gradscope.frames import is_users

from gradscope_torch.source import Sources


class Names:
    """Names of everything reachable from the root modules.

    With one root that has parameters, names are those of `named_parameters()`; with several, each is led by the name of
    the variable that holds its root. Prefixes of wrappers (`_orig_mod.`, `module.`) are stripped.
    """

    def __init__(self, sources: Sources):
        self.sources = sources
        self.roots: dict[int, tuple[torch.nn.Module, str]] = {}
        self._modules: dict[int, str] = {}
        self._parameters: dict[int, tuple[str, str]] = {}
        self._owners: dict[int, torch.nn.Module] = {}
        self._parents: dict[int, tuple[torch.nn.Module, str]] = {}
        self._held: list[tuple[torch.nn.Module, torch.nn.Module]] = []

    def refresh(self) -> None:
        """Names everything anew, for modules may have been replaced since."""
        self._index()

    def add_root(self, module: torch.nn.Module, name: str | None, frame: FrameType | None = None) -> None:
        """Makes a module a root. Without a name, that of the variable which holds it is looked for."""
        if id(module) in self.roots or id(module) in self._modules:
            return
        found = name or variable_name(module, frame) or type(module).__name__.lower()
        taken = {n for _, n in self.roots.values()}
        unique, count = found, 2
        while unique in taken:
            unique, count = f"{found}_{count}", count + 1
        before = self._weighty()
        self.roots[id(module)] = (module, unique)
        several = len(self._weighty()) > 1
        if several != (len(before) > 1):
            self._index()
        else:
            self._name_all(module, unique, several)

    def meet(self, module: torch.nn.Module, frame: FrameType | None) -> None:
        """Makes a module a root that is called from a frame; or the one it is a part of, where a trainer never calls
        that itself."""
        self.add_root(configured_in(module, frame) or module, None, frame)

    def release(self, parameters: Iterable[torch.Tensor], kept: Iterable[torch.Tensor]) -> None:
        """Forgets the roots that hold some of the parameters and none of those that are kept."""
        gone, needed = {id(p) for p in parameters}, {id(p) for p in kept}
        for root, _ in list(self.roots.values()):
            held = {id(p) for p in root.parameters()}
            if not held.isdisjoint(gone) and held.isdisjoint(needed):
                del self.roots[id(root)]
                self._forget(root)

    def _forget(self, root: torch.nn.Module) -> None:
        inside = {id(m) for m in root.modules()}
        inside |= {id(m) for parent, child in self._held if id(parent) in inside for m in child.modules()}
        self._held = [(parent, child) for parent, child in self._held if id(parent) not in inside]
        for key in inside:
            self._modules.pop(key, None)
            self._parents.pop(key, None)
        for at in [at for at, owner in self._owners.items() if id(owner) in inside]:
            del self._owners[at]
            self._parameters.pop(at, None)

    def _weighty(self) -> list[torch.nn.Module]:
        return [m for m, _ in self.roots.values() if any(True for _ in m.parameters())]

    def _index(self) -> None:
        several = len(self._weighty()) > 1
        self._modules.clear()
        self._owners.clear()
        self._parameters.clear()
        self._parents.clear()
        held, self._held = self._held, []
        for module, name in self.roots.values():
            self._name_all(module, name, several)
        for parent, child in held:
            if not self.known(child):
                self.adopt(child, parent)

    def _name_all(self, root: torch.nn.Module, name: str, several: bool) -> None:
        prefix = name if several or not any(True for _ in root.parameters()) else ""
        for path, child in root.named_modules():
            self._name(child, clean(".".join(x for x in (prefix, path) if x)))

    def _name(self, module: torch.nn.Module, name: str) -> None:
        if id(module) in self._modules:
            return
        self._modules[id(module)] = name
        for key, parameter in module.named_parameters(recurse=False):
            self._owners.setdefault(id(parameter), module)
            self._parameters.setdefault(id(parameter), (clean(f"{name}.{key}" if name else key), name))
        for key, child in module.named_children():
            self._parents.setdefault(id(child), (module, key))

    def adopt(self, child: torch.nn.Module, parent: torch.nn.Module) -> None:
        """Names a module that was called inside another one which does not register it (kept in a list, say)."""
        if id(child) in self._modules:
            return
        held = chain(parent.named_children(), held_in(parent))
        where = next((path for path, value in held if value is child), type(child).__name__.lower())
        base = self.module(parent)
        for path, module in child.named_modules():
            self._name(module, ".".join(x for x in (base, where, path) if x))
        self._held.append((parent, child))

    def known(self, module: torch.nn.Module) -> bool:
        """Whether the module has a name already."""
        return id(module) in self._modules

    def module(self, module: torch.nn.Module) -> str:
        """The dotted name; "" for the only root."""
        return self._modules.get(id(module), type(module).__name__.lower())

    def parameter(self, parameter: torch.Tensor, fallback: str) -> tuple[str, str]:
        """(dotted name of the parameter, that of its module)."""
        return self._parameters.get(id(parameter), (fallback, ""))

    def owner(self, parameter: torch.Tensor) -> torch.nn.Module | None:
        """The module that holds the parameter."""
        return self._owners.get(id(parameter))

    def parent(self, module: torch.nn.Module) -> tuple[torch.nn.Module, str] | None:
        """(the module that registers this one, under which name), or None for a root."""
        return self._parents.get(id(module))

    def all_parameters(self) -> Iterator[torch.nn.Parameter]:
        """Every parameter of every root and adopted module, once."""
        seen: set[int] = set()
        for module in [m for m, _ in self.roots.values()] + [child for _, child in self._held]:
            for parameter in module.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def in_library(self, module: torch.nn.Module) -> bool:
        """Whether a library built the module as a part of a model of its own."""
        return self.sources.in_library(module)

    def source(self, module: torch.nn.Module) -> str | None:
        """file:line of the code that created the module."""
        return self.sources.of(module) or self.sources.static(module, self)


def configured_in(module: torch.nn.Module, frame: FrameType | None) -> torch.nn.Module | None:
    """The module that holds this one, makes its optimizers, and is calling it: Lightning calls its training_step()."""
    while frame is not None:
        me = frame.f_locals.get("self") if is_users(frame.f_code.co_filename) else None
        if isinstance(me, torch.nn.Module) and hasattr(me, "configure_optimizers") and module in me.modules():
            return me
        frame = frame.f_back
    return None


def clean(name: str) -> str:
    """The name without what wrappers put in front."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def held_in(parent: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Modules that the attributes of a module hold outside its registry, with their paths."""
    for key, value in vars(parent).items():
        if key.startswith("_"):
            continue
        if isinstance(value, torch.nn.Module):
            yield key, value
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                if isinstance(item, torch.nn.Module):
                    yield f"{key}.{i}", item
        elif isinstance(value, dict):
            for k, item in value.items():
                if isinstance(item, torch.nn.Module):
                    yield f"{key}.{k}", item


def variable_name(value: Any, frame: FrameType | None) -> str | None:
    """The name of a variable of the user's frames, or of an attribute of their `self`, that holds the value."""
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            for name, held in list(frame.f_locals.items()):
                if held is value and name != "self" and not name.startswith("_"):
                    return name
            me = frame.f_locals.get("self")
            for name, held in list(getattr(me, "__dict__", {}).items()):
                if held is value:
                    return str(name)
        frame = frame.f_back
    main = sys.modules.get("__main__")
    return next((n for n, held in vars(main).items() if held is value and not n.startswith("_")), None)
