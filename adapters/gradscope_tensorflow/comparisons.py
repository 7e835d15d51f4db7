"""What enters a loss: of Keras or TensorFlow, or written by hand as a difference or a logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np
from gradscope import statistics
from gradscope.notes import comparison_traits, logarithm_note, loss_note, site_of

from gradscope_tensorflow.arrays import host, is_eager, is_float
from gradscope_tensorflow.forward import Forward

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
MOST_CLASSES = 4096


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


def note_logarithm(forward: Forward, given: Any, line: str | None) -> None:
    """log of what a sigmoid or softmax returned, unprotected: how near to zero its argument came."""
    origin = forward.origin(given)
    if origin.operation not in {"sigmoid", "softmax"} or not is_float(given):
        return
    margin = np.array([host(given).astype("f8").min()])
    forward.notes.append(logarithm_note(origin, margin, line))
