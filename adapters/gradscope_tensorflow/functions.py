"""Sees activations, loss functions and hand-written differences as they are called."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from gradscope.frames import users_line
from gradscope.notes import site_of
from gradscope.patches import Patches

from gradscope_tensorflow.comparisons import (
    LOSSES,
    note_comparison,
    note_complement,
    note_difference,
    note_logarithm,
    note_loss,
)
from gradscope_tensorflow.forward import Forward

ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "softplus": "softplus",
}
FUSED = {
    "sparse_softmax_cross_entropy_with_logits": "cross_entropy",
    "softmax_cross_entropy_with_logits": "cross_entropy",
    "sigmoid_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
}
AS_IT_IS: dict[str, Any] = {"autograph_info__": {}}
"""Marks a wrapper, so that AutoGraph calls it as it is, and does not rewrite it."""

Guard = Callable[..., None]


def install(patches: Patches, forward: Forward, guard: Guard) -> None:
    """Wraps the functions that matter. guard: takes an action and its arguments, and lets nothing out."""
    import keras

    patches.wrap(keras.Loss, "__call__", _loss_object(forward, guard))
    for name in LOSSES:
        patches.wrap(keras.losses, name, _loss_function(forward, guard, name))
    if keras.backend.backend() == "tensorflow":
        _install_tensorflow(patches, forward, guard)
        return
    from keras.src import backend

    for name, operation in ACTIVATIONS.items():
        for owner in (backend.nn, backend.numpy):
            if hasattr(owner, name):
                patches.wrap(owner, name, _activation(forward, guard, operation))


def _install_tensorflow(patches: Patches, forward: Forward, guard: Guard) -> None:
    import tensorflow as tf

    for name, operation in ACTIVATIONS.items():
        for owner in (tf.nn, tf, tf.math):
            if hasattr(owner, name):
                patches.wrap(owner, name, _activation(forward, guard, operation))
    for name, function in FUSED.items():
        patches.wrap(tf.nn, name, _fused(forward, guard, function))
    tensor = tf.Tensor
    for name in ("__sub__", "__rsub__"):
        patches.wrap(tensor, name, _difference(forward, guard))
    for owner in (tf, tf.math):
        patches.wrap(owner, "subtract", _difference(forward, guard))
    patches.wrap(tf.math, "log", _logarithm(forward, guard))
    patches.wrap(tf, "clip_by_value", _activation(forward, guard, "clamp"))
    for owner, name in ((tf, "reshape"), (tf, "squeeze"), (tf, "cast")):
        patches.wrap(owner, name, _view(forward, guard))


def _activation(forward: Forward, guard: Guard, operation: str) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def activation(*args: Any, **kwargs: Any) -> Any:
            out = original(*args, **kwargs)
            given = args[0] if args else next(iter(kwargs.values()), None)
            if forward.looking and forward.sees(out) and forward.sees(given):
                guard(forward.note_activation, operation, given, out)
            return out

        return activation

    return make


def _view(forward: Forward, guard: Guard) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def view(*args: Any, **kwargs: Any) -> Any:
            out = original(*args, **kwargs)
            if forward.looking and args and forward.sees(args[0]):
                guard(note_view, forward, args[0], out)
            return out

        return view

    return make


def note_view(forward: Forward, given: Any, out: Any) -> None:
    """The same values in another shape."""
    forward.mark(out, forward.origin(given))


def _loss_object(forward: Forward, guard: Guard) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def call(self: Any, y_true: Any, y_pred: Any, *args: Any, **kwargs: Any) -> Any:
            with inside_loss(forward):
                result = original(self, y_true, y_pred, *args, **kwargs)
            function = getattr(self, "fn", None)
            name = getattr(function, "__name__", None) or type(self).__name__
            if forward.looking:
                given = getattr(self, "_fn_kwargs", {})
                weighted = (args[0] if args else kwargs.get("sample_weight")) is not None
                own = getattr(function, "__module__", "").startswith("keras.")
                if own and given.get("from_logits") and getattr(y_pred, "dtype", None) == self.dtype:
                    y_pred = _seen_through(forward, guard, y_pred)
                guard(note_loss, forward, name, y_true, y_pred, result, given, weighted, place())
            return result

        return call

    return make


def _loss_function(forward: Forward, guard: Guard, name: str) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def call(y_true: Any, y_pred: Any, *args: Any, **kwargs: Any) -> Any:
            with inside_loss(forward):
                result = original(y_true, y_pred, *args, **kwargs)
            if forward.looking:
                given = {"from_logits": args[0]} if args else kwargs
                if given.get("from_logits"):
                    y_pred = _seen_through(forward, guard, y_pred)
                guard(note_loss, forward, name, y_true, y_pred, result, given, False, place())
            return result

        return call

    return make


def _seen_through(forward: Forward, guard: Guard, y_pred: Any) -> Any:
    """What Keras' own losses of logits compute with: on TensorFlow they find those that a softmax or sigmoid of Keras
    was applied to, and take them. A cast in between hides them."""
    logits = getattr(y_pred, "_keras_logits", None)
    if logits is None:
        return y_pred
    guard(note_logits, forward, y_pred, logits)
    return logits


def note_logits(forward: Forward, out: Any, logits: Any) -> None:
    """A loss takes what was before an activation function in the place of what that returned."""
    forward.mark(logits, replace(forward.origin(out), operation=forward.origin(logits).operation))


@contextlib.contextmanager
def inside_loss(forward: Forward) -> Iterator[None]:
    """While a loss of Keras computes, its own differences are none that somebody wrote by hand."""
    forward.in_loss += 1
    try:
        yield
    finally:
        forward.in_loss -= 1


def _fused(forward: Forward, guard: Guard, function: str) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            line = users_line(sys._getframe(1))
            if forward.looking and called_by_user(sys._getframe(1)):
                labels, logits = args[0] if args else kwargs.get("labels"), kwargs.get("logits", (*args, None, None)[1])
                guard(note_comparison, forward, function, labels, logits, result, site_of(function, line), True)
            return result

        return call

    return make


def called_by_user(frame: Any) -> bool:
    """Whether the frame itself is the user's, and not a library's that works for them."""
    return users_line(frame) == f"{frame.f_code.co_filename}:{frame.f_lineno}"


def place() -> str | None:
    """The user's line that called what calls this."""
    return users_line(sys._getframe(2))


def _difference(forward: Forward, guard: Guard) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def subtract(left: Any, right: Any, *args: Any, **kwargs: Any) -> Any:
            out = original(left, right, *args, **kwargs)
            if forward.looking and not forward.stack and not forward.in_loss and forward.sees(out):
                guard(note_difference, forward, left, right, place())
                guard(note_complement, forward, left, right, out)
            return out

        return subtract

    return make


def _logarithm(forward: Forward, guard: Guard) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def log(x: Any, *args: Any, **kwargs: Any) -> Any:
            out = original(x, *args, **kwargs)
            if forward.looking and forward.sees(x) and called_by_user(sys._getframe(1)):
                guard(note_logarithm, forward, x, place())
            return out

        return log

    return make
