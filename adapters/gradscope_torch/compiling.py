"""Compiling: what torch.compile holds of a model, and how to stand beside it.

A hook inside a compiled region is traced once, at the wrong time, and a function mode that is on where a region begins
compiles it anew. So nothing is put inside a region, the mode is off while one runs, and what runs here is never traced.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from gradscope.patches import Patches

from gradscope_torch.hook import left_alone

Heard = Callable[[Any], None]
LISTENERS: list[Heard] = []
_patches = Patches()


# -- regions -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Door:
    """Where a compiled region begins: what is called, and the module that is meant. sealed: by module.compile(), so
    that hooks of the module itself lie inside."""

    called: torch.nn.Module
    meant: torch.nn.Module
    sealed: bool = False


@dataclass(slots=True)
class Regions:
    """The compiled regions of models, and those beside them that are known; found anew by each scan()."""

    doors: dict[int, Door] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    """Modules on which hooks would lie inside a region."""
    wrappers: list[Any] = field(default_factory=list)
    """References to what was compiled since, whether it holds one of the models or not."""

    def scan(self, models: Iterable[torch.nn.Module]) -> None:
        """Looks at every module of the models, and at the wrappers."""
        held = [w for reference in self.wrappers if (w := reference()) is not None]
        modules = {id(m): m for root in [*held, *models] for m in root.modules()}
        found = [door for m in modules.values() if (door := door_of(m)) is not None]
        self.inside = set()
        for door in found:
            within = {id(m) for m in door.meant.modules()}
            self.inside |= within if door.called is not door.meant or door.sealed else within - {id(door.meant)}
        self.doors = {id(d.called): d for d in found if d.sealed or id(d.called) not in self.inside}

    def takes_hooks(self, module: torch.nn.Module) -> bool:
        """Whether a module lies outside of every region and is none."""
        return id(module) not in self.inside and id(module) not in self.doors and not is_script(module)

    def add(self, wrapper: Any) -> None:
        """Notes what torch.compile(module) gave, or a module that compiled itself."""
        self.wrappers.append(weakref.ref(wrapper))


def is_script(module: torch.nn.Module) -> bool:
    """Whether a module was compiled by torch.jit: it takes no hooks."""
    return isinstance(module, torch.jit.ScriptModule)


def door_of(module: torch.nn.Module) -> Door | None:
    """The region that begins with a module."""
    if "_orig_mod" in module._modules:
        meant = module._modules["_orig_mod"]
        return None if meant is None else Door(module, meant)
    if module._compiled_call_impl is not None:
        return Door(module, module, sealed=True)
    if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
        return Door(module, module)
    return None


class Passage:
    """Stands in for what module.compile() made, and tells when it begins and ends. A copy of the module has neither."""

    def __init__(self, module: torch.nn.Module, enter: Callable[..., None], leave: Callable[..., None]):
        """enter(module, args, kwargs), leave(module, args, output), where the output is None when it raised."""
        left_alone(type(self).__call__)
        self.module = module
        self.original: Any = module._compiled_call_impl
        self.enter = enter
        self.leave = leave

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():
            return self.original(*args, **kwargs)
        self.enter(self.module, args, kwargs)
        result = None
        try:
            result = self.original(*args, **kwargs)
        finally:
            self.leave(self.module, args, result)
        return result


def take_away(passage: Passage) -> None:
    """Ends a passage, wherever it lies among those of other observers."""
    held = passage.module._compiled_call_impl
    if held is passage:
        passage.module._compiled_call_impl = passage.original
    while isinstance(held, Passage):
        if held.original is passage:
            held.original = passage.original
        held = held.original


# -- hearing of torch.compile ------------------------------------------------------------------------------------------


def listen(heard: Heard) -> None:
    """heard(made) is told whenever a module was compiled: of the wrapper, or of the module that compiled itself."""
    if not LISTENERS:
        _patches.wrap(torch, "compile", _compile)
        _patches.wrap(torch.nn.Module, "compile", _compile_in_place)
    LISTENERS.append(heard)


def unlisten(heard: Heard) -> None:
    """Ends that; with the last one the originals come back."""
    if heard in LISTENERS:
        LISTENERS.remove(heard)
    if not LISTENERS:
        _patches.close()


def _compile(original: Any) -> Any:
    def compile(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        if isinstance(made, torch.nn.Module):
            tell(made)
        return made

    return compile


def _compile_in_place(original: Any) -> Any:
    def compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        tell(self)
        return result

    return compile


def tell(module: Any) -> None:
    """Tells everybody."""
    for heard in LISTENERS:
        heard(module)


# -- hearing of dynamo -------------------------------------------------------------------------------------------------


def callbacks() -> Any:
    """Dynamo's own list of those who hear when it begins to compile."""
    import torch._dynamo

    return torch._dynamo.callback_handler


def is_strict() -> bool:
    """Whether code was compiled already, and compiling any anew is an error: then nobody may cause it."""
    import torch._dynamo
    from torch._dynamo import convert_frame

    return bool(torch._dynamo.config.error_on_recompile and convert_frame.FRAME_COUNTER)


def is_frame(given: Any = None) -> bool:
    """Whether what begins is the compilation of a function; else it is that of its backward pass, say. An older torch
    that tells nothing begins with functions alone."""
    return bool(getattr(getattr(given, "callback_trigger", None), "name", "DYNAMO") == "DYNAMO")
