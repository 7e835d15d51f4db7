"""when_imported: to act in the moment a module has been imported, and never to import it oneself."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any


class Finder:
    """Stands first in sys.meta_path: finds one module as everybody else does, and acts once it has been executed."""

    def __init__(self, name: str, action: Callable[[], None]):
        self.name = name
        self.action = action
        self._searching = False

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """The module's own spec, whose loader acts afterwards; None for every other module."""
        if name != self.name or self._searching:
            return None
        self._searching = True
        try:
            spec = find_spec(name)
        finally:
            self._searching = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            self.action()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def when_imported(name: str, action: Callable[[], None]) -> Iterator[None]:
    """Calls the action when the top-level module is imported, at once when it has been; not after the `with`."""
    if name in sys.modules:
        action()
        yield
        return
    finder = Finder(name, action)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(finder)
