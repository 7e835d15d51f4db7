"""Sees activations, logarithms, differences and views as they are called, whatever block or line calls them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import mxnet
from gradscope.frames import users_line
from gradscope.patches import Patches

from gradscope_mxnet.forward import Forward
from gradscope_mxnet.losses import note_difference, note_logarithm

ACTIVATIONS = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "clip": "clamp",
}
BY_TYPE = {"relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softrelu": "softplus"}
"""What the argument act_type of nd.Activation stands for."""
DIFFERENCES = ("subtract", "broadcast_sub", "elemwise_sub")
VIEWS = (
    "reshape",
    "Reshape",
    "squeeze",
    "flatten",
    "Flatten",
    "expand_dims",
    "transpose",
    "cast",
    "Dropout",
    "dropout",
)
METHODS = ("reshape", "squeeze", "flatten", "expand_dims", "astype", "__getitem__")

Looking = Callable[[], list[Any]]


def install(patches: Patches, looking: Looking) -> None:
    """Wraps the functions that matter. looking: who listens while a training step's forward pass runs."""
    owners = [mxnet.nd, mxnet.nd.op, mxnet.npx, mxnet.np, mxnet.nd.numpy_extension, mxnet.nd.numpy]
    makers: dict[str, Callable[[Any], Any]] = {}
    for name, operation in ACTIVATIONS.items():
        makers[name] = _watched(looking, _activation(operation))
    makers |= dict.fromkeys(("Activation", "activation"), _watched(looking, _typed_activation))
    makers |= dict.fromkeys(VIEWS, _watched(looking, _view))
    makers |= dict.fromkeys(DIFFERENCES, _watched(looking, _difference))
    makers["log"] = _watched(looking, _logarithm)
    for owner in owners:
        for name, make in makers.items():
            if callable(getattr(owner, name, None)):
                patches.wrap(owner, name, make)
    for kind in (mxnet.nd.NDArray, mxnet.np.ndarray):
        for name in METHODS:
            if name in vars(kind):
                patches.wrap(kind, name, _watched(looking, _view))
        patches.wrap(kind, "__sub__", _watched(looking, _difference))
        patches.wrap(kind, "__rsub__", _watched(looking, _difference))


Note = Callable[..., None]


def _watched(looking: Looking, note: Note) -> Callable[[Any], Any]:
    """A wrapper that calls note(forward, args, kwargs, result, line) when somebody listens."""

    def make(original: Any) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            for listener in looking():
                listener.noted(note, args, kwargs, result, sys._getframe(1))
            return result

        return function

    return make


def _given(args: Any, kwargs: Any) -> Any:
    return args[0] if args else next((kwargs[k] for k in ("data", "x", "a") if k in kwargs), None)


def _activation(operation: str) -> Note:
    def note(forward: Forward, args: Any, kwargs: Any, result: Any, _frame: Any) -> None:
        given = _given(args, kwargs)
        over_batch = operation == "softmax" and runs_over_batch(args, kwargs, given)
        forward.note_activation(operation + (" over the batch" if over_batch else ""), given, result)

    return note


def _typed_activation(forward: Forward, args: Any, kwargs: Any, result: Any, _frame: Any) -> None:
    kind = kwargs.get("act_type", args[1] if len(args) > 1 else "")
    if kind in BY_TYPE:
        forward.note_activation(BY_TYPE[kind], _given(args, kwargs), result)


def _view(forward: Forward, args: Any, kwargs: Any, result: Any, _frame: Any) -> None:
    before = forward.origin(_given(args, kwargs))
    if before.layer or before.is_output or before.data:
        forward.mark(result, before)


def _difference(forward: Forward, args: Any, _kwargs: Any, result: Any, frame: Any) -> None:
    if len(args) > 1:
        note_difference(forward, args[0], args[1], users_line(frame))
        _complement(forward, args, result)


def _complement(forward: Forward, args: Any, result: Any) -> None:
    """1 - p of a probability is one too."""
    origin = next((forward.origin(a) for a in args if not isinstance(a, int | float)), None)
    if (
        origin is not None
        and origin.operation == "sigmoid"
        and any(isinstance(a, int | float) and a == 1 for a in args)
    ):
        forward.mark(result, origin)


def _logarithm(forward: Forward, args: Any, kwargs: Any, _result: Any, frame: Any) -> None:
    note_logarithm(forward, _given(args, kwargs), users_line(frame))


def runs_over_batch(args: Any, kwargs: Any, given: Any) -> bool:
    """Whether a softmax normalizes over the first of several dimensions, of a batch of more than one."""
    axis = kwargs.get("axis", next((a for a in args[1:] if isinstance(a, int)), -1))
    shape: tuple[int, ...] = getattr(given, "shape", ())
    return len(shape) == 2 and axis in {0, -2} and shape[0] > 1
