"""The adapter of the reference: workloads of its models are trained and checked with numpy alone."""

from __future__ import annotations

import contextlib
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from gradscope.errors import UsageError
from gradscope.packaged import Packaged, first_of

if TYPE_CHECKING:
    from gradscope.scope import Scope

PARTS = {"trainer": "training"}
"""Modules that are called otherwise here."""


class NumpyAdapter(Packaged):
    """The reference, behind the Adapter protocol. Its training tells the scope itself, so a session has nothing to
    do."""

    name = "numpy"
    install = "pip install gradscope-diagnostics"
    module = "numpy"
    package = "gradscope.reference"
    model = "Model"

    def recognizes(self, thing: Any) -> bool:
        """Whether it is a Model of the reference, or that class."""
        module = sys.modules.get("gradscope.reference.model")
        if module is None:
            return False
        kind, one = module.Model, first_of(thing)
        return isinstance(one, kind) or (isinstance(one, type) and issubclass(one, kind))

    def watch(self, _scope: Scope, model: Any, _optimizer: Any) -> Any:
        """Raises UsageError: a loop of one's own tells the scope what it did."""
        raise UsageError(
            f"watch(): a {type(model).__name__} of gradscope.reference is not watched; tell what a step did by "
            "watch().observe(), or train it as a workload"
        )

    def session(self, _scope: Scope) -> AbstractContextManager[Any]:
        """Nothing to observe."""
        return contextlib.nullcontext()

    def _part(self, module: str) -> Any:
        return super()._part(PARTS.get(module, module))
