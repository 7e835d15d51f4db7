"""What enters a loss: of gluon.loss, or written by hand as a difference or a logarithm."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from gradscope.notes import comparison_traits, logarithm_note, loss_note, site_of
from mxnet import nd

from gradscope_mxnet import measure

if TYPE_CHECKING:
    from gradscope_mxnet.forward import Forward

LOSSES = {
    "L2Loss": "mse_loss",
    "L1Loss": "l1_loss",
    "HuberLoss": "huber_loss",
    "SoftmaxCrossEntropyLoss": "cross_entropy",
    "SoftmaxCELoss": "cross_entropy",
    "SigmoidBinaryCrossEntropyLoss": "binary_cross_entropy_with_logits",
    "SigmoidBCELoss": "binary_cross_entropy_with_logits",
    "KLDivLoss": "kl_div",
    "PoissonNLLLoss": "poisson_nll_loss",
}
"""Gluon's names and those of torch where the two mean the same."""
OF_PROBABILITIES = {"binary_cross_entropy_with_logits": "binary_cross_entropy", "cross_entropy": "nll_loss"}
MOST_CLASSES = 4096
Numbers = dict[str, Any]


def note_loss(forward: Forward, block: Any, args: Any, result: Any, line: str | None) -> None:
    """A block of gluon.loss was called as loss(prediction, label)."""
    kind = type(block).__name__
    function = LOSSES.get(kind, kind)
    if getattr(block, "_from_sigmoid", False) or (getattr(block, "_from_logits", False) and function != "kl_div"):
        function = OF_PROBABILITIES.get(function, function)
    if len(args) < 2 or not all(isinstance(a, nd.NDArray) for a in args[:2]):
        return
    weight = getattr(block, "_weight", None)
    value = None
    if len(args) == 2 and (kind == "L2Loss" or weight in {None, 1}):
        value = measure.total(measure.double(result)) / result.size
        if kind == "L2Loss" and weight:
            value = value * (2.0 / weight)  # it halves the square
    sparse = bool(getattr(block, "_sparse_label", True))
    note_comparison(forward, function, args[0], args[1], value, site_of(kind, line), sparse)


def note_difference(forward: Forward, left: Any, right: Any, line: str | None) -> None:
    """A loss written by hand: the output of a root block minus data."""
    if forward.stack or forward.in_loss or not isinstance(left, nd.NDArray) or not isinstance(right, nd.NDArray):
        return
    left_out, right_out = forward.origin(left).is_output, forward.origin(right).is_output
    if left_out == right_out:
        return
    prediction, target = (left, right) if left_out else (right, left)
    if forward.origin(target).layer or target.size < 2:
        return
    note_comparison(forward, "difference", prediction, target, None, site_of("difference", line), False)


def note_logarithm(forward: Forward, given: Any, line: str | None) -> None:
    """log of what a sigmoid or softmax returned, unprotected: how near to zero its argument came."""
    origin = forward.origin(given)
    if forward.in_loss or origin.operation not in {"sigmoid", "softmax"} or measure.is_empty(given):
        return
    margin = measure.one(measure.wide(given).min())
    forward.notes.append(logarithm_note(origin, margin, line))


def note_comparison(
    forward: Forward, function: str, prediction: Any, target: Any, value: Any, site: str, sparse: bool
) -> None:
    """A prediction meets its target. value: the mean of a known loss, or None. sparse: the targets are labels."""
    origin = forward.origin(prediction)
    if origin.data or measure.is_empty(prediction) or measure.is_empty(target):
        return
    of_classes = function in {"cross_entropy", "nll_loss"} and len(prediction.shape) > 1
    labels = of_classes and sparse
    traits = comparison_traits(function, origin, prediction.shape, target.shape, classes=labels)
    values: Numbers = {} if value is None else {"value": value}
    names = ("prediction_mean", "prediction_deviation", "prediction_min", "prediction_max")
    values |= split(names, measure.spread(prediction))
    values["batch_size"] = prediction.shape[0] if len(prediction.shape) else 1
    if of_classes:
        values |= _class_values(forward, site, prediction, target, sparse)
    else:
        values |= _value_values(forward, site, function, prediction, target)
    numbers = measure.joined([v if isinstance(v, nd.NDArray) else measure.constant(v, target) for v in values.values()])
    forward.notes.append(loss_note(site, tuple(values), numbers, traits))


def _class_values(forward: Forward, site: str, prediction: Any, target: Any, sparse: bool) -> Numbers:
    """How far the predictions are from probabilities, and how pure the targets are."""
    classes = prediction.shape[-1]
    values: Numbers = {"margin": measure.probability_margin(prediction)}
    if not sparse:
        forward.classes.append((site, measure.column_sums(measure.double(target).reshape((-1, classes)))))
        values["target_elements"] = prod(target.shape[:-1])
    elif classes <= MOST_CLASSES:
        labels = measure.plain(target).astype("float32").reshape((-1,))
        counts = measure.column_sums(nd.one_hot(labels, classes).astype("float64"))  # a label outside counts for none
        forward.classes.append((site, counts))
        many = measure.total(counts)
        values["target_purity"] = measure.total((counts / nd.maximum(many, measure.constant(1.0, counts))).square())
        values["target_elements"] = many
    return values


def _value_values(forward: Forward, site: str, function: str, prediction: Any, target: Any) -> Numbers:
    """Ranges of the target, whether shapes broadcast, and the squared error of the prediction."""
    names = ("target_mean", "target_deviation", "target_min", "target_max")
    values: Numbers = split(names, measure.spread(target))
    p, t = prod(prediction.shape), prod(target.shape)
    elements = compared(function, tuple(prediction.shape), tuple(target.shape))
    values |= {"prediction_elements": p, "target_elements": t, "loss_elements": elements}
    values["broadcast"] = float(elements > max(p, t))
    truth = measure.double(target)
    if function.startswith("binary_cross_entropy"):
        ones = measure.total(truth)
        forward.classes.append((site, measure.joined([t - ones, ones])))
        values["target_purity"] = (ones / t).square() + (1 - ones / t).square()
    elif p == t and t > 1:
        values["prediction_squared_error"] = measure.mean_square(measure.double(prediction) - truth)
    return values


def compared(function: str, prediction: tuple[int, ...], target: tuple[int, ...]) -> int:
    """Elements that are compared. Losses of Gluon give the label the shape of the prediction; a difference does not."""
    if function != "difference" and prod(prediction) == prod(target):
        return prod(prediction)
    try:
        return prod(np.broadcast_shapes(prediction, target))
    except ValueError:
        return max(prod(prediction), prod(target))


def split(names: tuple[str, ...], values: Any) -> Numbers:
    """The entries of a vector by name, each of shape (1,)."""
    return {name: values[at : at + 1] for at, name in enumerate(names)}
