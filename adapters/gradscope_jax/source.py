"""Where an equation was written: the user's line, and the known library function between that line and the equation."""

from __future__ import annotations

from typing import Any

from gradscope.frames import is_users

ACTIVATIONS = frozenset(
    {
        "celu",
        "elu",
        "gelu",
        "glu",
        "hard_silu",
        "hard_swish",
        "leaky_relu",
        "log_sigmoid",
        "log_softmax",
        "logsumexp",
        "mish",
        "selu",
        "silu",
        "softmax",
        "softplus",
        "standardize",
        "swish",
    }
)
"""Functions of jax.nn whose insides are theirs: a tanh in a gelu saturates by design."""
LOSSES = frozenset(
    {
        "cosine_distance",
        "ctc_loss",
        "hinge_loss",
        "huber_loss",
        "kl_divergence",
        "l2_loss",
        "log_cosh",
        "poly_loss_cross_entropy",
        "sigmoid_binary_cross_entropy",
        "sigmoid_focal_loss",
        "smooth_labels",
        "softmax_cross_entropy",
        "softmax_cross_entropy_with_integer_labels",
        "squared_error",
    }
)
"""Functions of optax that compare a prediction with a target."""


def place_of(equation: Any) -> tuple[str, str | None]:
    """(outermost known library function that the user's line called, or ""; "file:line" of that line, or None)."""
    trace = equation.source_info.traceback
    call = ""
    for frame in trace.frames if trace is not None else ():
        file, name = frame.file_name, frame.function_name.rpartition(".")[2]
        if is_users(file):
            return call, f"{file}:{frame.line_num}"
        loss = name in LOSSES and "/optax/" in file
        if loss or (name in ACTIVATIONS and "/jax/" in file and call not in LOSSES):
            call = name
    return call, None


def is_library_function(description: str) -> bool:
    """Whether "name at file:line", as JAX describes a traced function, is none of the user's."""
    file = description.rpartition(" at ")[2].rpartition(":")[0]
    return not file or not is_users(file)
