"""watch(): an optax transformation whose state carries the statistics of the last steps, and read() that fetches them.

The norms of every step are written into a ring in the optimizer's state. At steps 0, 1, 2, 4, 8 ... 64 and then at each
64th the ring goes to the host, with the full statistics of that step; in between nothing is moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gradscope.errors import UsageError
from gradscope.scope import Scope

from gradscope_jax import measure
from gradscope_jax.made import Made, made_of
from gradscope_jax.names import leaves_of, stacked_in
from gradscope_jax.observation import cut, details
from gradscope_jax.ring import HEAD, ROWS, Track, Tracks, WatchState


def watch(
    scope: Scope, optimizer: optax.GradientTransformation | None = None, *, stacked: str | Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """A transformation that observes what an optimizer gets, and passes it on unchanged.

    With an optimizer: `tx = gradscope_jax.watch(scope, optax.adam(1e-3))`, which also sees the updates. Without: to be
    chained before one, `optax.chain(gradscope_jax.watch(scope), optax.adam(1e-3))`. The loss comes by
    `tx.update(grads, state, params, value=loss)`, or by `scope.log(loss=loss)` once after every step. stacked: names of
    subtrees whose arrays hold several layers along their first axis.

    The last steps are still in the state when a run ends: `gradscope_jax.read(scope, opt_state)` before the report.
    Raises UsageError for what is no Scope or no transformation.
    """
    if not isinstance(scope, Scope):
        raise UsageError(
            f"watch(): expected a gradscope.Scope first, got {type(scope).__name__}; scope = gradscope.watch()"
        )
    if optimizer is not None and not hasattr(optimizer, "update"):
        raise UsageError(f"watch(): expected an optax transformation, got {type(optimizer).__name__}")
    if scope.watched is None:
        scope.watched = Tracks()
    if not isinstance(scope.watched, Tracks):
        raise UsageError(
            "watch(): this scope watches something else; expected one of its own, scope = gradscope.watch()"
        )
    track = Track(scope, made_of(optimizer) or Made("optimizer"))
    scope.watched.all.append(track)
    inner = optax.with_extra_args_support(optimizer) if optimizer is not None else None

    def init(params: Any) -> WatchState:
        leaves = leaves_of(params, stacked_in(params, stacked))
        track.survey(leaves)
        rows = jnp.full((ROWS, HEAD + len(leaves)), -1.0, jnp.float32)
        return WatchState(jnp.zeros((), jnp.int32), rows, inner.init(params) if inner is not None else ())

    def update(updates: Any, state: WatchState, params: Any = None, **extra: Any) -> tuple[Any, WatchState]:
        result, held = updates, state.inner
        if inner is not None:
            result, held = inner.update(updates, state.inner, params, **extra)
        leaves = leaves_of(updates, stacked_in(updates, stacked))
        track.survey(leaves)
        gradients = cut(leaves, jax.tree.leaves(updates))
        loss = extra.get("value", extra.get("loss", jnp.nan))
        head = [state.count, loss, rate_of(held)]
        row = jnp.concatenate(
            [jnp.stack([jnp.asarray(h, jnp.float32).reshape(()) for h in head]), measure.norms(gradients)]
        )
        rows = state.rows.at[state.count % ROWS].set(row)
        before = cut(leaves, jax.tree.leaves(params)) if params is not None else None
        change = cut(leaves, jax.tree.leaves(result)) if inner is not None else None

        def send() -> None:
            jax.debug.callback(track.receive, rows, state.count, details(gradients, before, change))

        jax.lax.cond(is_due(state.count), send, lambda: None)
        return result, WatchState(state.count + 1, rows, held)

    return optax.GradientTransformationExtraArgs(init, update)


def is_due(count: Any) -> Any:
    """Whether the ring goes to the host: at 0, 1, 2, 4 ... 64, then at every 64th step."""
    return ((count <= ROWS) & ((count & (count - 1)) == 0)) | (count % ROWS == 0)


def rate_of(state: Any) -> Any:
    """The learning rate that a state holds (optax.inject_hyperparams); NaN without one."""
    held = getattr(state, "hyperparams", None)
    if held is not None and "learning_rate" in held:
        return held["learning_rate"]
    if isinstance(state, tuple):
        for one in state:
            found = rate_of(one)
            if not isinstance(found, float):
                return found
    return math.nan


def read(scope: Scope, opt_state: Any) -> None:
    """Fetches the steps that are still in an optimizer's state. Call it before a report, or whenever it is convenient.

    Raises UsageError when no watch() is in the state.
    """
    states = [s for s in jax.tree.leaves(opt_state, is_leaf=_is_state) if _is_state(s)]
    tracks = scope.watched.all if isinstance(scope.watched, Tracks) else []
    if not states or not tracks:
        raise UsageError("read(): no gradscope_jax.watch(scope) in this state; expected the state of its optimizer")
    jax.effects_barrier()
    for state in states:
        width = state.rows.shape[1] - HEAD
        mine = [t for t in tracks if t.objective is not None and len(t.objective.leaves) == width]
        for track in mine[:1] if len(states) == 1 else mine:
            track.receive(jax.device_get(state.rows))


def _is_state(value: Any) -> bool:
    return isinstance(value, WatchState)
