"""The adapter that gradscope finds. Importing this file does not import JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradscope.errors import CannotApply, UsageError
from gradscope.hookspecs import hookimpl
from gradscope.packaged import Packaged, first_of
from gradscope.scope import Scope
from gradscope.workload import Cold, Score, Workload

LIBRARIES = frozenset({"flax", "equinox"})
NO_WORKLOAD = "workload(): JAX models have no common call; give `gradscope check` the training script"


class JaxAdapter(Packaged):
    """JAX, behind the Adapter protocol. A jitted step is watched from inside, and a model has no common call."""

    name = "jax"
    install = "pip install 'gradscope-diagnostics[jax]'"
    module = "jax"
    companions = ("optax", "equinox")
    package = "gradscope_jax"

    def recognizes(self, thing: Any) -> bool:
        """Whether a model, or the first of several, is one of flax or equinox, told by the names of its classes."""
        one = first_of(thing)
        kind = one if isinstance(one, type) else type(one)
        return any(k.__module__.partition(".")[0] in LIBRARIES for k in kind.__mro__)

    def watch(self, _scope: Scope, _model: Any, _optimizer: Any) -> Any:
        """A loop that is compiled is watched by a transformation of its own. Raises UsageError."""
        raise UsageError(
            "watch(): a jitted JAX step is watched from inside: scope = gradscope.watch(); "
            "optimizer = gradscope_jax.watch(scope, optimizer)"
        )

    def train(self, _scope: Scope, _workload: Workload) -> None:
        """Raises UsageError."""
        raise UsageError(NO_WORKLOAD)

    def fresh(self, _workload: Workload, _seed: int) -> Workload:
        """Raises UsageError."""
        raise UsageError(NO_WORKLOAD)

    def evaluate(self, _workload: Workload) -> Score:
        """Raises UsageError."""
        raise UsageError(NO_WORKLOAD)

    def treat(self, _workload: Workload, remedy: str, _settings: Mapping[str, Any]) -> Workload:
        """Raises CannotApply."""
        raise CannotApply(f"{remedy}: {NO_WORKLOAD}")

    def cold(self, _scope: Scope, _target: Cold) -> None:
        """Raises UsageError."""
        raise UsageError("FILE::CLASS: JAX models have no common call; give `gradscope check` the training script")


@hookimpl
def gradscope_adapters() -> list[JaxAdapter]:
    """JAX."""
    return [JaxAdapter()]
