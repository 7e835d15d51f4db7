"""The line that makes a run's optimizer anew, in the words of each framework."""

from __future__ import annotations

from gradscope.history import History
from gradscope.program.names import IN_OPTAX

BY_HAND = frozenset({"by hand", "observed"})
"""What the optimizer of a run is called whose steps no library makes."""
PLAIN = frozenset({"asgd", "sgd"}) | BY_HAND
WITHOUT_EPS = frozenset({"asgd", "ftrl", "lbfgs", "lion", "rprop", "sgd"}) | BY_HAND
"""Optimizers that divide by nothing, or have no number to add to it."""


def optimizer_of(history: History, otherwise: str) -> str:
    """What the optimizer of a run is called; `otherwise` where that is not known, or is no name."""
    name = str(history.facts.get("optimizer", otherwise))
    return otherwise if name in BY_HAND or name == "optimizer" else name


def is_by_hand(history: History) -> bool:
    """Whether the program takes its steps itself, without an optimizer."""
    return history.facts.get("optimizer") in BY_HAND


def is_plain(history: History) -> bool:
    """Whether every parameter gets a step in proportion to its gradient, or to the mean of its gradients."""
    return str(history.facts.get("optimizer", "")).lower() in PLAIN


def has_eps(history: History, otherwise: str) -> bool:
    """Whether the run's optimizer has an eps, which keeps it from dividing by zero."""
    return str(history.facts.get("optimizer", otherwise)).lower() not in WITHOUT_EPS


def optax_name(history: History, otherwise: str) -> str:
    """The function of optax that makes the run's optimizer, or one like it; that of `otherwise` where there is none."""
    name = optimizer_of(history, otherwise).lower().removeprefix("scale_by_")
    return name if name in IN_OPTAX else otherwise.lower()


def optimizer_lines(history: History, rate: str, *, otherwise: str, eps: str | None = None) -> dict[str, str]:
    """Framework -> the line that makes the run's optimizer with another learning rate, and with eps if it has one."""
    name = optimizer_of(history, otherwise)
    torch, keras = f"lr={rate}", f"learning_rate={rate}"
    jax = f"optimizer = optax.{optax_name(history, otherwise)}({rate})"
    if eps is not None and has_eps(history, otherwise):
        torch, keras, jax = f"{torch}, eps={eps}", f"{keras}, epsilon={eps}", f"{jax[:-1]}, eps={eps})"
    if is_by_hand(history):
        jax = f"params = jax.tree.map(lambda p, g: p - {rate} * g, params, grads)"
    return {
        "torch": f"optimizer = torch.optim.{name}(model.parameters(), {torch})",
        "tensorflow": f"optimizer = keras.optimizers.{name}({keras})",
        "jax": jax,
        "numpy": f"parameter -= {rate} * gradient",
    }


def clipping_line(history: History, limit: str) -> str:
    """The line that clips gradients at a global norm in JAX, around an optimizer of optax or before a step by hand."""
    if is_by_hand(history):
        return f"grads = jax.tree.map(lambda g: g * jnp.minimum(1, {limit} / optax.tree.norm(grads)), grads)"
    name = optax_name(history, "Adam")
    return f"optimizer = optax.chain(optax.clip_by_global_norm({limit}), optax.{name}(learning_rate))"


def skipping_line(history: History) -> str:
    """The lines that skip a step whose gradient is not finite in JAX."""
    if is_by_hand(history):
        return (
            "sound = jnp.isfinite(optax.tree.norm(grads))\n"
            "params = jax.tree.map(lambda p, g: jnp.where(sound, p - rate * g, p), params, grads)"
        )
    return "optimizer = optax.apply_if_finite(optimizer, max_consecutive_errors=100)  # skips such steps"


def step_lines(history: History) -> str:
    """The lines that take a step in JAX, where both the gradients and the new parameters are results."""
    if is_by_hand(history):
        return "params = jax.tree.map(lambda p, g: p - rate * g, params, grads)"
    return "updates, state = optimizer.update(grads, state, params)\nparams = optax.apply_updates(params, updates)"
