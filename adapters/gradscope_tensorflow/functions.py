"""Sees activations, loss functions and hand-written differences as they are called."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gradscope import statistics
from gradscope.frames import users_line
from gradscope.notes import comparison_traits, logarithm_note, loss_note, site_of
from gradscope.patches import Patches

from gradscope_tensorflow.arrays import host, is_eager, is_float
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
LOSSES = {
    "mean_squared_error": "mse_loss",
    "mean_absolute_error": "l1_loss",
    "huber": "huber_loss",
    "log_cosh": "huber_loss",
    "binary_crossentropy": "binary_cross_entropy",
    "categorical_crossentropy": "categorical_cross_entropy",
    "sparse_categorical_crossentropy": "categorical_cross_entropy",
    "kl_divergence": "kl_divergence",
    "poisson": "poisson",
}
"""Keras' names and ours, those of torch where the two mean the same. With from_logits they are the ones below."""
WITH_LOGITS = {
    "binary_cross_entropy": "binary_cross_entropy_with_logits",
    "categorical_cross_entropy": "cross_entropy",
}
FUSED = {
    "sparse_softmax_cross_entropy_with_logits": "cross_entropy",
    "softmax_cross_entropy_with_logits": "cross_entropy",
    "sigmoid_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
}
MOST_CLASSES = 4096
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
                guard(note_loss, forward, name, y_true, y_pred, result, given, False, place())
            return result

        return call

    return make


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


def note_loss(
    forward: Forward,
    name: str,
    y_true: Any,
    y_pred: Any,
    result: Any,
    settings: Any,
    weighted: bool,
    line: str | None,
) -> None:
    """A loss was called."""
    if name == "CompileLoss" or not is_float(y_pred):
        return
    function = LOSSES.get(name, name)
    if settings.get("from_logits"):
        function = WITH_LOGITS.get(function, function)
    target = y_true if is_eager(y_true) else tensor_of(y_true)
    site = site_of(name, line)
    note_comparison(forward, function, target, y_pred, result, site, not weighted)


def note_comparison(
    forward: Forward, function: str, target: Any, prediction: Any, result: Any, site: str, comparable: bool
) -> None:
    """A prediction meets its target. comparable: the value is the plain mean of a known loss."""
    origin = forward.origin(prediction)
    if origin.data or not is_float(prediction) or not is_eager(target):
        return
    p, t = host(prediction), host(target)
    if not p.size or not t.size:
        return
    classes = function in {"categorical_cross_entropy", "cross_entropy"} and p.ndim > 1
    labels = classes and t.shape != p.shape
    traits = comparison_traits(function, origin, p.shape, t.shape, classes=labels)
    values: dict[str, float] = {}
    if result is not None and comparable and is_float(result):
        values["value"] = float(host(result).mean(dtype="f8"))
    values |= dict(
        zip(
            ("prediction_mean", "prediction_deviation", "prediction_min", "prediction_max"),
            statistics.spread(p),
            strict=True,
        )
    )
    values["batch_size"] = len(p) if p.ndim else 1
    if classes:
        _class_values(forward, site, p, t, values)
    elif t.dtype.kind in "fiub":
        _value_values(forward, site, function, p, t.astype("f8"), values)
    forward.notes.append(loss_note(site, tuple(values), np.array(list(values.values())), traits))


def _class_values(forward: Forward, site: str, p: Any, t: Any, values: dict[str, float]) -> None:
    values["margin"] = statistics.probability_margin(p)
    if t.shape == p.shape:
        counts = t.reshape(-1, t.shape[-1]).astype("f8").sum(0)
    elif p.shape[-1] <= MOST_CLASSES:
        labels = t.astype("i8").ravel()
        labels = labels[(labels >= 0) & (labels < p.shape[-1])]
        counts = np.bincount(labels, minlength=p.shape[-1]).astype("f8")
        values["target_purity"] = float(np.square(counts / max(counts.sum(), 1)).sum())
    else:
        return
    values["target_elements"] = float(counts.sum())
    forward.classes.append((site, counts))


def _value_values(forward: Forward, site: str, function: str, p: Any, t: Any, values: dict[str, float]) -> None:
    """Ranges of the target, whether shapes broadcast, and the squared error of the prediction."""
    names = ("target_mean", "target_deviation", "target_min", "target_max")
    values |= dict(zip(names, statistics.spread(t), strict=True))
    elements = broadcast_size(function, p, t)
    values |= {"prediction_elements": p.size, "target_elements": t.size, "loss_elements": elements}
    values["broadcast"] = float(elements > max(p.size, t.size))
    if function.startswith("binary_cross_entropy"):
        ones = float(t.sum())
        forward.classes.append((site, np.array([t.size - ones, ones])))
        values["target_purity"] = float(t.mean() ** 2 + (1 - t.mean()) ** 2)
    elif p.size == t.size and t.size > 1:
        error = float(np.square(p.astype("f8").ravel() - t.ravel()).mean())
        values["prediction_squared_error"] = error


def broadcast_size(function: str, p: Any, t: Any) -> int:
    """Elements that are compared. Losses of Keras align (N,) with (N, 1); a difference written by hand does not."""
    if function != "difference" and p.size == t.size:
        return int(p.size)
    try:
        return int(np.prod(np.broadcast_shapes(p.shape, t.shape)))
    except ValueError:
        return int(max(p.size, t.size))


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


def note_complement(forward: Forward, left: Any, right: Any, out: Any) -> None:
    """1 - p of a probability is one too."""
    given, other = (right, left) if isinstance(left, int | float) else (left, right)
    if isinstance(other, int | float) and other == 1 and forward.origin(given).operation == "sigmoid":
        forward.mark(out, forward.origin(given))


def note_difference(forward: Forward, left: Any, right: Any, line: str | None) -> None:
    """A loss written by hand: the output of a root layer minus data."""
    left_out, right_out = forward.origin(left).is_output, forward.origin(right).is_output
    if left_out == right_out or not is_float(left if left_out else right):
        return
    prediction, target = (left, right) if left_out else (right, left)
    if not is_eager(target):
        target = tensor_of(target) if isinstance(target, np.ndarray) else None
    if target is None or forward.origin(target).layer or int(np.prod(target.shape)) < 2:
        return
    note_comparison(forward, "difference", target, prediction, None, site_of("difference", line), False)


def tensor_of(value: Any) -> Any:
    """An array as a tensor of Keras' backend."""
    import keras

    return keras.ops.convert_to_tensor(value)


def _logarithm(forward: Forward, guard: Guard) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def log(x: Any, *args: Any, **kwargs: Any) -> Any:
            out = original(x, *args, **kwargs)
            if forward.looking and forward.sees(x) and called_by_user(sys._getframe(1)):
                guard(note_logarithm, forward, x, place())
            return out

        return log

    return make


def note_logarithm(forward: Forward, given: Any, line: str | None) -> None:
    """log of what a sigmoid or softmax returned, unprotected: how near to zero its argument came."""
    origin = forward.origin(given)
    if origin.operation not in {"sigmoid", "softmax"} or not is_float(given):
        return
    margin = np.array([host(given).astype("f8").min()])
    forward.notes.append(logarithm_note(origin, margin, line))
