"""file:line of the code that created a module.

Under `check` the registration hooks of torch see each module being built. A model that existed before gradscope came
is looked up in the text of its class instead: the line of `self.NAME = ...`, found with ast.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from gradscope.frames import is_library, is_users
from torch.nn.modules import module as torch_module

if TYPE_CHECKING:
    from gradscope_torch.names import Names

TORCH = str(Path(torch.__path__[0]))
CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)


def created_at(module: torch.nn.Module, frame: FrameType | None) -> tuple[str, bool] | None:
    """(file:line of the innermost user's frame that is no method of the module itself, whether a library's code stood
    in between: then the module is a part of that library's model)."""
    library = False
    while frame is not None:
        file = frame.f_code.co_filename
        if is_users(file):
            if frame.f_locals.get("self") is not module:
                return f"{file}:{frame.f_lineno}", library
        elif is_library(file) and not file.startswith(TORCH) and frame.f_locals.get("self") is not module:
            library = True
        frame = frame.f_back
    return None


class Sources:
    """Where modules were created: as seen while they were built, or as read in the text."""

    def __init__(self) -> None:
        self._lines: weakref.WeakKeyDictionary[torch.nn.Module, str] = weakref.WeakKeyDictionary()
        self._library: weakref.WeakKeyDictionary[torch.nn.Module, bool] = weakref.WeakKeyDictionary()
        self._handles: list[Any] = []

    def in_library(self, module: torch.nn.Module) -> bool:
        """Whether a library built the module as a part of a model of its own."""
        return self._library.get(module, False)

    def install(self) -> None:
        """From now on every module that is built is noted."""
        self._handles = [
            torch_module.register_module_parameter_registration_hook(self._parameter),
            torch_module.register_module_buffer_registration_hook(self._parameter),
            torch_module.register_module_module_registration_hook(self._module),
        ]

    def remove(self) -> None:
        """Takes the hooks away; what was noted stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _parameter(self, module: torch.nn.Module, _name: str, _value: Any) -> None:
        self._note(module)

    def _module(self, module: torch.nn.Module, _name: str, child: Any) -> None:
        if isinstance(child, torch.nn.Module):
            self._note(child)
        self._note(module)

    def _note(self, module: torch.nn.Module) -> None:
        if module not in self._lines:
            found = created_at(module, sys._getframe(2))
            if found:
                self._lines[module], self._library[module] = found

    def of(self, module: torch.nn.Module) -> str | None:
        """The line that was seen, if it was."""
        return self._lines.get(module)

    def static(self, module: torch.nn.Module, names: Names) -> str | None:
        """The line in the text of the class that holds the module, or where its container was made."""
        found = names.parent(module)
        if found is None:
            return None
        parent, key = found
        line = assignment_line(type(parent), key)
        if line is None and isinstance(parent, CONTAINERS):
            return self.of(parent) or self.static(parent, names)
        return line


def assignment_line(owner: type, attribute: str) -> str | None:
    """file:line of `self.attribute = ...` in a class or its bases, or None."""
    return next((lines[attribute] for lines in map(assignments, owner.__mro__) if attribute in lines), None)


@cache
def assignments(owner: type) -> dict[str, str]:
    """attribute -> file:line of the first assignment to it in the text of a user's class; {} where there is no text."""
    try:
        file = inspect.getsourcefile(owner)
        if file is None or not is_users(file):
            return {}
        lines, start = inspect.getsourcelines(owner)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        for attribute in assigned_attributes(node):
            found.setdefault(attribute, f"{file}:{start + node.lineno - 1}")  # type: ignore[attr-defined]
    return found


def assigned_attributes(node: ast.AST) -> Iterator[str]:
    """The attributes that a statement assigns to, those in tuples too."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    while targets:
        target = targets.pop(0)
        if isinstance(target, ast.Attribute):
            yield target.attr
        elif isinstance(target, ast.Tuple | ast.List):
            targets.extend(target.elts)
        elif isinstance(target, ast.Starred):
            targets.append(target.value)
