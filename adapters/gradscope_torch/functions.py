"""The function mode: sees activations and loss functions as they are called, whatever module or line calls them."""

from __future__ import annotations

import sys
from typing import Any

import torch
from gradscope.frames import users_line
from gradscope.notes import comparison_traits, logarithm_note, loss_note, site_of
from torch import Tensor

from gradscope_torch import measure
from gradscope_torch.forward import Forward, wrapped

ACTIVATIONS = {
    "relu": "relu",
    "relu_": "relu",
    "relu6": "relu",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "tanh": "tanh",
    "tanh_": "tanh",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "softplus": "softplus",
    "logsigmoid": "logsigmoid",
    "clamp": "clamp",
    "clamp_": "clamp",
    "clip": "clamp",
}
VIEWS = frozenset(
    [
        "squeeze",
        "unsqueeze",
        "view",
        "reshape",
        "flatten",
        "__getitem__",
        "contiguous",
        "float",
        "double",
        "to",
        "transpose",
        "permute",
        "dropout",
        "narrow",
        "select",
        "clone",
        "type",
        "unflatten",
        "movedim",
        "squeeze_",
    ]
)
DIFFERENCES = frozenset({"sub", "__sub__", "rsub", "__rsub__", "subtract"})
PRODUCTS = frozenset({"mul", "__mul__", "__rmul__", "multiply"})
LOSSES = frozenset(
    [
        "cross_entropy",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "kl_div",
        "poisson_nll_loss",
        "soft_margin_loss",
        "multilabel_soft_margin_loss",
    ]
)
CLASS_LOSSES = frozenset({"cross_entropy", "nll_loss"})
LOGARITHMS = frozenset({"log", "log_", "log2", "log10"})
MOST_CLASSES = 4096


INTERESTING = frozenset(ACTIVATIONS) | VIEWS | DIFFERENCES | PRODUCTS | LOSSES | LOGARITHMS


def observe(forward: Forward, name: str, args: Any, kwargs: Any, result: Any) -> None:
    """Notes one call of an interesting function."""
    if torch._C._current_graph_task_id() != -1:
        return
    given = args[0] if args else kwargs.get("input")
    if name in VIEWS:
        if isinstance(result, Tensor) and isinstance(given, Tensor):
            before = forward.origin(given)
            if before.layer or before.is_output:
                forward.mark(result, before)
    elif name in ACTIVATIONS:
        if isinstance(given, Tensor) and isinstance(result, Tensor):
            over_batch = "softmax" in name and runs_over_batch(args, kwargs, given)
            forward.note_activation(ACTIVATIONS[name] + (" over the batch" if over_batch else ""), given, result)
    elif name in LOSSES:
        target = args[1] if len(args) > 1 else kwargs.get("target")
        if isinstance(given, Tensor) and isinstance(target, Tensor) and isinstance(result, Tensor):
            note_loss(forward, name, given, target, result, kwargs)
    elif name in LOGARITHMS:
        if isinstance(given, Tensor) and given.requires_grad:
            note_logarithm(forward, given)
    elif name in PRODUCTS:
        if len(args) > 1:
            note_product(forward, args[0], args[1], result)
    elif len(args) > 1:
        note_difference(forward, args[0], args[1], result)
        note_complement(forward, args, result)


def note_loss(
    forward: Forward, name: str, prediction: Tensor, target: Tensor, result: Tensor, kwargs: dict[str, Any]
) -> None:
    """A loss function was called on a prediction that carries gradients."""
    if not prediction.requires_grad or not prediction.numel() or wrapped(prediction) or wrapped(target):
        return
    origin = forward.origin(prediction)
    site = site_of(name, users_line(sys._getframe()))
    labels = not target.is_floating_point() and name in CLASS_LOSSES
    traits = comparison_traits(name, origin, prediction.shape, target.shape, classes=labels)
    traits |= {"target_carries_gradient": target.requires_grad, "reduction": kwargs.get("reduction", "mean")}
    values = {"value": result.detach().double().mean()}
    values |= prediction_and_target(forward, site, name, prediction, target, traits)
    add_note(forward, site, values, traits)


def prediction_and_target(
    forward: Forward, site: str, name: str, prediction: Tensor, target: Tensor, traits: dict[str, Any]
) -> dict[str, Tensor]:
    """Ranges of what is compared, whether shapes broadcast, and the squared error of the prediction."""
    p = prediction.detach()
    device = p.device
    values = dict(
        zip(
            ("prediction_mean", "prediction_deviation", "prediction_min", "prediction_max"),
            measure.spread(p),
            strict=True,
        )
    )
    values["batch_size"] = torch.tensor(float(p.shape[0] if p.dim() else 1), device=device)
    if traits["classes"]:
        dimension = 1 if p.dim() > 1 else 0
        values["margin"] = probability_margin(p, dimension)
        if 0 < p.shape[dimension] <= MOST_CLASSES:
            labels = target.flatten()
            labels = labels[(labels >= 0) & (labels < p.shape[dimension])]
            counts = torch.bincount(labels, minlength=p.shape[dimension]).double()
            forward.classes.append((site, counts))
            values["target_purity"] = (counts / counts.sum().clamp_min(1)).square().sum()
            values["target_elements"] = counts.sum()
        return values
    t = target.detach()
    if name in CLASS_LOSSES and p.dim() > 1:
        values["margin"] = probability_margin(p, 1)
        forward.classes.append((site, t.double().movedim(1, -1).flatten(0, -2).sum(0)))
        values["target_elements"] = torch.tensor(float(t.numel() / max(1, t.shape[1])), device=device)
        return values
    values |= dict(zip(("target_mean", "target_deviation", "target_min", "target_max"), measure.spread(t), strict=True))
    values["prediction_elements"] = torch.tensor(float(p.numel()), device=device)
    values["target_elements"] = torch.tensor(float(t.numel()), device=device)
    shape = torch.broadcast_shapes(p.shape, t.shape)
    elements = torch.Size(shape).numel()
    values["loss_elements"] = torch.tensor(float(elements), device=device)
    values["broadcast"] = torch.tensor(float(elements > max(p.numel(), t.numel())), device=device)
    if name in {"binary_cross_entropy", "binary_cross_entropy_with_logits"}:
        ones = t.double().sum()
        forward.classes.append((site, torch.stack([t.numel() - ones, ones])))
        values["target_purity"] = t.double().mean().square() + (1 - t.double().mean()).square()
    elif p.numel() == t.numel() and t.numel() > 1:
        error = (p.double().flatten() - t.double().flatten()).square().mean()
        values["prediction_squared_error"] = error
    return values


def probability_margin(p: Tensor, dimension: int) -> Tensor:
    """How far the rows are from being probabilities: largest |sum - 1|, or Inf when a value is outside [0, 1]."""
    v = p.double()
    outside = (v.min() < 0) | (v.max() > 1 + 1e-6)
    return torch.where(outside, float("inf"), (v.sum(dimension) - 1).abs().max())


def runs_over_batch(args: Any, kwargs: Any, given: Tensor) -> bool:
    """Whether a softmax normalizes over the first of several dimensions, of a batch of more than one."""
    dimension = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return dimension in {0, -given.dim()} and given.dim() == 2 and given.shape[0] > 1


def note_complement(forward: Forward, args: Any, result: Any) -> None:
    """1 - p of a probability is one too."""
    given = next((a for a in args if isinstance(a, Tensor)), None)
    if (
        isinstance(result, Tensor)
        and forward.origin(given).operation == "sigmoid"
        and 1 in [a for a in args if isinstance(a, int | float)]
    ):
        forward.mark(result, forward.origin(given))


def note_difference(forward: Forward, left: Any, right: Any, result: Any) -> None:
    """A hand-written loss: the output of a root module minus data that carries no gradient."""
    if not (isinstance(left, Tensor) and isinstance(right, Tensor) and isinstance(result, Tensor)):
        return
    prediction, target = (left, right) if left.requires_grad else (right, left)
    origin = forward.origin(prediction)
    ours = origin.is_output and not forward.stack and not target.requires_grad and target.is_floating_point()
    if not ours or target.numel() < 2 or wrapped(prediction) or wrapped(target):
        return
    site = site_of("difference", users_line(sys._getframe()))
    traits = comparison_traits("difference", origin, prediction.shape, target.shape, classes=False)
    values = prediction_and_target(forward, site, "difference", prediction, target, traits)
    add_note(forward, site, values, traits)


def note_product(forward: Forward, left: Any, right: Any, result: Any) -> None:
    """Per-sample weights [N] on per-sample errors [N, 1], outside of any module: the product is [N, N]."""
    if forward.stack or not (isinstance(left, Tensor) and isinstance(right, Tensor) and isinstance(result, Tensor)):
        return
    size = forward.batch_size
    if (
        left.requires_grad == right.requires_grad
        or result.dim() != 2
        or not 1 < size == result.shape[0] == result.shape[1]
    ):
        return
    if {left.numel(), right.numel()} != {int(size)} or wrapped(left) or wrapped(right):
        return
    error, weight = (left, right) if left.requires_grad else (right, left)
    traits = {
        "function": "product",
        "prediction_shape": tuple(error.shape),
        "target_shape": tuple(weight.shape),
        "layer": "",
        "classes": False,
    }
    elements = {"prediction_elements": error.numel(), "loss_elements": result.numel(), "broadcast": 1}
    values = {k: torch.tensor(float(v), device=error.device) for k, v in elements.items()}
    add_note(forward, site_of("product", users_line(sys._getframe())), values, traits)


def note_logarithm(forward: Forward, given: Tensor) -> None:
    """log of what a sigmoid or softmax returned, unprotected: how near to zero its argument came."""
    origin = forward.origin(given)
    if origin.operation not in {"sigmoid", "softmax"} or not given.numel() or wrapped(given):
        return
    margin = given.detach().double().min()[None]
    forward.notes.append(logarithm_note(origin, margin, users_line(sys._getframe())))


def add_note(forward: Forward, site: str, values: dict[str, Tensor], traits: dict[str, Any]) -> None:
    """One note in the table of loss calls."""
    stacked = torch.stack([v.double() for v in values.values()])
    forward.notes.append(loss_note(site, tuple(values), stacked, traits))
