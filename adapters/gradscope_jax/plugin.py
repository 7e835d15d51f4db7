"""The adapter that gradscope finds. Importing this file does not import JAX."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from gradscope.errors import UsageError
from gradscope.hookspecs import hookimpl
from gradscope.scope import Scope
from gradscope.workload import Cold, Workload


class JaxAdapter:
    """JAX, behind the Adapter protocol."""

    name = "jax"
    install = "pip install 'gradscope-diagnostics[jax]'"
    module = "jax"
    companions: tuple[str, ...] = ("optax", "equinox")

    def available(self) -> bool:
        """Whether JAX is installed."""
        return find_spec("jax") is not None

    def recognizes(self, thing: Any) -> bool:
        """Whether a model is one of flax or equinox, told by the names of its classes."""
        kind = thing if isinstance(thing, type) else type(thing)
        return any(k.__module__.partition(".")[0] in {"flax", "equinox"} for k in kind.__mro__)

    def watch(self, _scope: Scope, _model: Any, _optimizer: Any) -> Any:
        """A loop that is compiled is watched by a transformation of its own."""
        raise UsageError(
            "watch(): a jitted JAX step is watched from inside: scope = gradscope.watch(); "
            "optimizer = gradscope_jax.watch(scope, optimizer)"
        )

    def session(self, scope: Scope) -> Any:
        """A context in which everything that trains is observed."""
        from gradscope_jax.session import Session

        return Session(scope)

    def train(self, _scope: Scope, _workload: Workload) -> None:
        """JAX has no one way to call a model."""
        raise UsageError("workload(): JAX models have no common call; give `gradscope check` the training script")

    def cold(self, _scope: Scope, _target: Cold) -> None:
        """JAX has no one way to build a model."""
        raise UsageError("FILE::CLASS: JAX models have no common call; give `gradscope check` the training script")


@hookimpl
def gradscope_adapters() -> list[JaxAdapter]:
    """JAX."""
    return [JaxAdapter()]
