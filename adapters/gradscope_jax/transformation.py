"""watch(): an optax transformation whose state carries the statistics of the last steps, and read() that fetches them.

Nothing leaves the device for it, and no callback slows the compiled step: the norms of the gradients of the last 64
steps, and some entries of the gradients, parameters and updates of the last one, are part of the optimizer's state.
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
from gradscope_jax.observation import cut
from gradscope_jax.ring import HEAD, ROWS, Track, Tracks, WatchState


def watch(
    scope: Scope, optimizer: optax.GradientTransformation | None = None, *, stacked: str | Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """A transformation that observes what an optimizer gets, and passes it on unchanged.

    With an optimizer: `tx = gradscope_jax.watch(scope, optax.adam(1e-3))`, which also sees the updates. Without: to be
    chained before one, `optax.chain(gradscope_jax.watch(scope), optax.adam(1e-3))`. The loss comes by
    `tx.update(grads, state, params, value=loss)`, or by `scope.log(loss=loss)` once after every step. stacked: names of
    subtrees whose arrays hold several layers along their first axis.

    `gradscope_jax.read(scope, opt_state)` fetches the last 64 steps from the state: call it so often to see all, and
    before the report. Norms of gradients are exact; those of parameters and updates are estimated, in
    arrays of more than 4096 entries, from so many of them.

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
    number = len(scope.watched.all)
    scope.watched.all.append(track)
    inner = optax.with_extra_args_support(optimizer) if optimizer is not None else None

    def init(params: Any) -> WatchState:
        leaves = leaves_of(params, stacked_in(params, stacked))
        track.survey(leaves)
        return WatchState(
            jnp.zeros((), jnp.int32),
            jnp.full((ROWS, HEAD + len(leaves)), -1.0, jnp.float32),
            jnp.full((4, sum(measure.sampled_size(math.prod(leaf.shape)) for leaf in leaves)), jnp.nan, jnp.float32),
            inner.init(params) if inner is not None else (),
            number,
        )

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
        last = state.samples
        now = sampled(cut(leaves, jax.tree.leaves(params))) if params is not None else last[1]
        samples = jnp.stack([sampled(gradients), now, last[0], last[1]])
        return result, WatchState(state.count + 1, rows, samples, held, number)

    return optax.GradientTransformationExtraArgs(init, update)


def sampled(arrays: Sequence[Any]) -> jax.Array:
    """Some entries of each array, one after the other, float32."""
    return jnp.concatenate([measure.blocks(x).astype(jnp.float32) for x in arrays])


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
    for state in states:
        tracks[state.number].receive(*jax.device_get((state.rows, state.samples)))


def _is_state(value: Any) -> bool:
    return isinstance(value, WatchState)
