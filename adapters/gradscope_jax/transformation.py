"""watch(): an optax transformation whose state carries the statistics of the last steps, and read() that fetches them.

Nothing leaves the device for it, and no callback slows the compiled step: the norms of the gradients of the last 64
steps, and some entries of the gradients and parameters of the last two, are part of the optimizer's state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gradscope.errors import UsageError
from gradscope.guard import guarded
from gradscope.scope import Scope

from gradscope_jax import measure
from gradscope_jax.made import UNKNOWN, Made, injected_rate
from gradscope_jax.making import made_of
from gradscope_jax.names import Leaf, cut, is_number, leaves_of, stacked_in
from gradscope_jax.ring import ABSENT, HEAD, ROWS, Tracks, WatchState


def watch(
    scope: Scope, optimizer: optax.GradientTransformation | None = None, *, stacked: str | Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """A transformation that observes what an optimizer gets, and passes it on unchanged.

    With an optimizer: `tx = gradscope_jax.watch(scope, optax.adam(1e-3))`. Without, to be chained before one:
    `optax.chain(gradscope_jax.watch(scope), optax.adam(1e-3))`. The loss comes by
    `tx.update(grads, state, params, value=loss)`, or by `scope.log(loss=loss)` once after every step; updates are seen
    where `params` are given. stacked: names of subtrees whose arrays hold several layers along their first axis.

    `gradscope_jax.read(scope, opt_state)` fetches the last 64 steps from the state: call it so often to see all, and
    before the report. Norms of gradients are exact; those of parameters and updates are estimated, in arrays of more
    than 4096 entries, from so many of them.

    Raises UsageError for what is no Scope or no transformation, and for MultiSteps, whose optimizer is to be watched.
    """
    if not isinstance(scope, Scope):
        raise UsageError(f"watch(): expected a gradscope.Scope first, got {type(scope).__name__}: gradscope.watch()")
    if isinstance(optimizer, optax.MultiSteps) or isinstance(
        getattr(getattr(optimizer, "update", None), "__self__", None), optax.MultiSteps
    ):
        raise UsageError(
            "watch(): MultiSteps calls its optimizer in every step and uses it in some; expected "
            "optax.MultiSteps(gradscope_jax.watch(scope, optimizer), k), whose steps are those of each gradient"
        )
    if optimizer is not None and not hasattr(optimizer, "update"):
        raise UsageError(f"watch(): expected an optax transformation, got {type(optimizer).__name__}")
    if scope.watched is None:
        scope.watched = Tracks(scope)
    if not isinstance(scope.watched, Tracks):
        raise UsageError("watch(): this scope watches something else; expected one of its own: gradscope.watch()")
    tracks = scope.watched
    made = made_of(optimizer) or Made(UNKNOWN)
    inner = optax.with_extra_args_support(optimizer) if optimizer is not None else optax.identity()
    inner = optax.with_extra_args_support(inner)

    def add_row(found: list[WatchState], updates: Any, state: WatchState, params: Any, loss: Any) -> None:
        found.append(noted(updates, state, params, loss, stacked))

    note = guarded("jax watch", scope.failures, add_row)

    def init(params: Any) -> WatchState:
        leaves = [leaf for leaf in leaves_of(params, stacked_in(params, stacked)) if is_number(leaf.dtype)]
        entries = sum(measure.sampled_size(math.prod(leaf.shape)) for leaf in leaves)
        dtype = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in leaves))
        return WatchState(
            jnp.zeros((), jnp.int32),
            jnp.full((ROWS, HEAD + len(leaves)), -1.0, jnp.float32),
            jnp.zeros((4, entries), dtype),
            jnp.zeros((), jnp.int32),
            jnp.asarray(tracks.add(made, leaves), jnp.int32),
            inner.init(params),
        )

    def update(updates: Any, state: WatchState, params: Any = None, **extra: Any) -> tuple[Any, WatchState]:
        result, held = inner.update(updates, state.inner, params, **extra)
        state = state._replace(inner=held)
        found: list[WatchState] = []
        note(found, updates, state, params, extra.get("value", extra.get("loss")))
        return result, found[0] if found else state

    return optax.GradientTransformationExtraArgs(init, update)


def noted(updates: Any, state: WatchState, params: Any, loss: Any, stacked: str | Sequence[str]) -> WatchState:
    """The state with one more row. Raises ValueError when the gradients are no longer those that init() got."""
    leaves = leaves_of(updates, stacked_in(updates, stacked))
    if len(leaves) != state.rows.shape[1] - HEAD:
        raise ValueError(f"init() saw {state.rows.shape[1] - HEAD} parameters, update() {len(leaves)} gradients")
    gradients = cut(leaves, jax.tree.leaves(updates))
    rate = injected_rate(state.inner)
    head = [state.count, ABSENT if loss is None else jnp.mean(loss), -1.0 if rate is None else rate]
    numbers = [jnp.asarray(h, jnp.float32).reshape(()) for h in head]
    row = jnp.concatenate([jnp.stack(numbers), measure.norms(gradients)])
    last, before = state.samples, same_leaves(updates, params)
    now = sampled(leaves, before, last.dtype) if before is not None else last[1]
    return state._replace(
        count=state.count + 1,
        rows=state.rows.at[state.count % ROWS].set(row),
        samples=jnp.stack([sampled(leaves, jax.tree.leaves(updates), last.dtype), now, last[0], last[1]]),
        known=state.known + 1 if before is not None else jnp.zeros_like(state.known),
    )


def same_leaves(updates: Any, params: Any) -> list[Any] | None:
    """The parameter of each gradient, by its path; None when they cannot be matched."""
    held = dict(jax.tree_util.tree_flatten_with_path(params)[0])
    found = [(held.get(path), g) for path, g in jax.tree_util.tree_flatten_with_path(updates)[0]]
    if any(p is None or jnp.shape(p) != jnp.shape(g) for p, g in found):
        return None
    return [p for p, _ in found]


def sampled(leaves: Sequence[Leaf], arrays: Sequence[Any], dtype: Any) -> jax.Array:
    """Some entries of each leaf, one after the other."""
    parts = [measure.blocks(jnp.asarray(x)).astype(dtype) for x in cut(leaves, arrays)]
    return jnp.concatenate([jnp.zeros(0, dtype), *parts])


def read(scope: Scope, opt_state: Any) -> None:
    """Fetches the steps that are still in an optimizer's state. Call it before a report, or whenever it is convenient.

    Raises UsageError when no watch() of this scope is in the state, or many in one (vmap).
    """
    if not isinstance(scope, Scope):
        raise UsageError(f"read(): expected a gradscope.Scope first, got {type(scope).__name__}")
    states = [s for s in jax.tree.leaves(opt_state, is_leaf=_is_state) if _is_state(s)]
    tracks = scope.watched.all if isinstance(scope.watched, Tracks) else []
    if not states or not tracks:
        raise UsageError(
            "read(): no gradscope_jax.watch(scope) in this state, or the scope was closed; expected the state of an "
            "optimizer that was made with this scope, before scope.close()"
        )
    for state in states:
        if isinstance(state.count, jax.core.Tracer):
            raise UsageError("read(): called inside jit, where nothing has a value; call it outside, after the step")
        if jnp.ndim(state.count):
            raise UsageError("read(): the state holds several runs (vmap); expected the state of one of them")
        count, number, *fetched = jax.device_get((state.count, state.number, state.rows, state.samples, state.known))
        if int(number) >= len(tracks) or len(tracks[int(number)].leaves) != fetched[0].shape[1] - HEAD:
            raise UsageError("read(): this state belongs to another scope")
        if int(count):
            tracks[int(number)].receive(*fetched)
    if isinstance(scope.watched, Tracks):
        scope.watched.told()


def _is_state(value: Any) -> bool:
    return isinstance(value, WatchState)
