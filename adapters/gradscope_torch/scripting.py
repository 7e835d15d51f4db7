"""Scripting: torch.jit.script compiles the hooks of a module with it, which those of an observer cannot be. They are
laid aside meanwhile, and what is made has none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from gradscope.patches import Patches

from gradscope_torch.hook import Hook

DOOR = "create_script_module"
"""Through which torch.jit.script comes for each module, by whatever name it was called."""
TABLES = ("_forward_hooks", "_forward_pre_hooks")

_patches = Patches()
_users: list[object] = []


def allow(user: object) -> None:
    """From now on modules with hooks of ours can be scripted."""
    recursive = getattr(torch.jit, "_recursive", None)
    if not _users and hasattr(recursive, DOOR):
        _patches.wrap(recursive, DOOR, _script)
    _users.append(user)


def disallow(user: object) -> None:
    """Ends that; with the last one the original comes back."""
    _users[:] = [u for u in _users if u is not user]
    if not _users:
        _patches.close()


def _script(original: Any) -> Any:
    def create_script_module(nn_module: Any, *args: Any, **kwargs: Any) -> Any:
        with aside(nn_module):
            return original(nn_module, *args, **kwargs)

    return create_script_module


@contextlib.contextmanager
def aside(model: torch.nn.Module) -> Iterator[None]:
    """Inside, the modules of a model have no hooks of ours; those of others stay."""
    tables = [vars(m)[name] for m in model.modules() for name in TABLES if name in vars(m)]
    kept = [(table, dict(table)) for table in tables if any(isinstance(h, Hook) for h in table.values())]
    for table, held in kept:
        for key in [k for k, hook in held.items() if isinstance(hook, Hook)]:
            del table[key]
    try:
        yield
    finally:
        for table, held in kept:
            table.clear()
            table.update(held)
