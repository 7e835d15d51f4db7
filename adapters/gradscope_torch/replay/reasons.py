"""Reasons: why an operation made something that is not finite, read off what it was given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradscope_torch.replay.tracer import Record
from gradscope_torch.replay.values import floats, plain, state_of

Found = tuple[str, Tensor | None]
"""(the reason, where the argument is to blame: a mask over the first tensor that the operation was given)."""


def reason_of(record: Record) -> Found:
    """Why the forward operation of a record failed; ("", None) where that is not known."""
    given = [plain(t) for t in floats((record.args, record.kwargs))]
    op = record.op.strip("_")
    explain = FORWARD.get(op)
    if explain is not None and given and not any(t.is_complex() for t in given):
        text, where = explain(given, record.args)
        if text:
            return text, where
    if "softmax" in op and given and fully_masked(given[0], record.args):
        return "a row that is masked entirely: softmax of nothing but -inf", None
    if "attention" in op:
        masks = [t for t in given if bool(torch.isinf(t).any()) or t.dtype is torch.bool]
        if masks or any(state_of(t) for t in given):
            return "a row that is masked entirely: softmax of nothing but -inf", None
    if any(bool(torch.isinf(plain(t)).any()) for t in record.outputs) and not record.foreign:
        text = overflow(record)
        if text:
            return text, None
    infinite = [v for v in record.args if isinstance(v, float) and v in {float("inf"), float("-inf")}]
    if op == "mul" and (infinite or any(bool(torch.isinf(t).any()) for t in given)):
        return "0 times infinity", None
    if op in {"add", "sub"} and any(bool(torch.isinf(t).any()) for t in given):
        return "infinity minus infinity", None
    return "", None


def fully_masked(values: Tensor, args: Any) -> bool:
    """Whether a row of what softmax was given holds -inf only."""
    dimension = next((a for a in args if isinstance(a, int) and not isinstance(a, bool)), -1)
    return bool((values == float("-inf")).all(dim=dimension).any()) if values.dim() else False


def overflow(record: Record) -> str:
    """What came out, computed in float64, beyond the largest number of its type."""
    out = record.outputs[0]
    if not out.is_floating_point() or out.dtype is torch.float64:
        return ""
    largest = torch.finfo(out.dtype).max
    name = str(out.dtype).removeprefix("torch.")
    limit = f"beyond the largest {name}, {largest:.4g}"
    try:
        args = [wide(a) for a in record.args]
        kwargs = {k: wide(v) for k, v in record.kwargs.items()}
        again = floats(record.function(*args, **kwargs))
        values = again[0].abs()
        top = float(values[torch.isfinite(values)].max()) if values.numel() else 0.0
    except (RuntimeError, TypeError, NotImplementedError, IndexError):
        return f"overflow: {limit}"
    return f"overflow: {top:.4g}, {limit}" if top > largest else ""


def wide(value: Any) -> Any:
    """The value with floats in float64."""
    if isinstance(value, Tensor):
        return value.detach().double() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(wide(v) for v in value)
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value


# -- forward -----------------------------------------------------------------------------------------------------------


def of_logarithm(given: list[Tensor], _args: Any) -> Found:
    """log of 0, or below."""
    x = given[0]
    if bool((x < 0).any()):
        return f"logarithm of a negative number, {float(x.min()):.4g}", x < 0
    return ("logarithm of 0", x == 0) if bool((x == 0).any()) else ("", None)


def of_log1p(given: list[Tensor], _args: Any) -> Found:
    """log(1 + x) of -1, or below."""
    x = given[0]
    return ("logarithm of 1 + x where x is -1 or less", x <= -1) if bool((x <= -1).any()) else ("", None)


def of_root(given: list[Tensor], _args: Any) -> Found:
    """sqrt of a negative number."""
    x = given[0]
    return (f"square root of a negative number, {float(x.min()):.4g}", x < 0) if bool((x < 0).any()) else ("", None)


def of_inverse_root(given: list[Tensor], args: Any) -> Found:
    """1 / sqrt(0)."""
    x = given[0]
    return ("1 / sqrt(x) of 0", x == 0) if bool((x == 0).any()) else of_root(given, args)


def of_division(given: list[Tensor], args: Any) -> Found:
    """Division by 0."""
    divisor = given[1] if len(given) > 1 else given[0]
    if len(given) < 2 and len(args) != 1:
        return ("division by 0", None) if 0 in [a for a in args if isinstance(a, int | float)] else ("", None)
    return ("division by 0", divisor == 0) if bool((divisor == 0).any()) else ("", None)


def of_power(given: list[Tensor], args: Any) -> Found:
    """A negative number to a fraction, or 0 to a negative one."""
    x = given[0]
    powers = given[1] if len(given) > 1 else torch.tensor(float(args[1]) if len(args) > 1 else float("nan"))
    if isinstance(args[0], int | float):
        return "", None
    if bool(((x < 0) & (powers != powers.round())).any()):
        return "a negative number to a power that is no whole number", x < 0
    return ("0 to a negative power", x == 0) if bool(((x == 0) & (powers < 0)).any()) else ("", None)


def of_exponential(given: list[Tensor], _args: Any) -> Found:
    """exp of more than its type can hold."""
    x = given[0]
    top = float(x[torch.isfinite(x)].max()) if bool(torch.isfinite(x).any()) else float("nan")
    if not bool(torch.isfinite(x).all()) and not top > math.log(torch.finfo(x.dtype).max):
        return "", None
    name = str(x.dtype).removeprefix("torch.")
    largest = torch.finfo(x.dtype).max
    return f"overflow: exp({top:.4g}), beyond the largest {name}, {largest:.4g}", x == x.max()


def of_arc(given: list[Tensor], _args: Any) -> Found:
    """acos or asin of more than 1."""
    x = given[0]
    return ("argument outside of [-1, 1]", x.abs() > 1) if bool((x.abs() > 1).any()) else ("", None)


def of_labels(given: list[Tensor], args: Any) -> Found:
    """The likelihood of a label that cannot be."""
    logs, labels = given[0], args[1]
    if logs.dim() != labels.dim() + 1 or not labels.numel():
        return "", None
    at = labels.clamp(0, logs.shape[1 if logs.dim() > 1 else 0] - 1)
    chosen = logs.gather(1, at[:, None]).squeeze(1) if logs.dim() > 1 else logs[at]
    where = torch.isinf(chosen)
    return ("the probability of the label is 0: its logit is masked", where) if bool(where.any()) else ("", None)


def of_normalization(given: list[Tensor], args: Any) -> Found:
    """A variance of 0 with nothing added to it; the last number that the operation was given is its epsilon."""
    epsilon = next((a for a in reversed(args) if isinstance(a, float)), None)
    sound = bool(torch.isfinite(given[0]).all())
    return ("variance 0, and no epsilon", None) if epsilon == 0 and sound else ("", None)


FORWARD: dict[str, Callable[[list[Tensor], Any], Found]] = {
    "log": of_logarithm,
    "log2": of_logarithm,
    "log10": of_logarithm,
    "log1p": of_log1p,
    "sqrt": of_root,
    "rsqrt": of_inverse_root,
    "div": of_division,
    "reciprocal": of_division,
    "pow": of_power,
    "exp": of_exponential,
    "acos": of_arc,
    "asin": of_arc,
    "batch_norm_with_update": of_normalization,
    "fused_rms_norm": of_normalization,
    "native_batch_norm": of_normalization,
    "native_batch_norm_legit": of_normalization,
    "native_group_norm": of_normalization,
    "native_layer_norm": of_normalization,
    "nll_loss_forward": of_labels,
    "nll_loss2d_forward": of_labels,
}

# -- backward ----------------------------------------------------------------------------------------------------------

SINGULAR = {
    "sqrt": ("sqrt at 0, where its slope is infinite", 0.0),
    "log": ("log at 0, where its slope is infinite", 0.0),
    "log2": ("log2 at 0, where its slope is infinite", 0.0),
    "log10": ("log10 at 0, where its slope is infinite", 0.0),
    "pow": ("a power below 1 at 0, where its slope is infinite", 0.0),
    "norm": ("norm at 0, where it has no slope", 0.0),
    "acos": ("acos at 1 or -1, where its slope is infinite", 1.0),
    "asin": ("asin at 1 or -1, where its slope is infinite", 1.0),
    "atan2": ("atan2 at (0, 0), where it has no slope", 0.0),
}
"""Operation -> (what is wrong, the magnitude of the argument where it is)."""


def reason_of_slope(op: str, kept: tuple[Any, ...]) -> Found:
    """Why the gradient of an operation is not finite although its value is; kept: what it was given."""
    given = [plain(t) for t in floats(kept)]
    if not given or any(t.is_complex() for t in given):
        return "", None
    if op in SINGULAR:
        text, at = SINGULAR[op]
        where = given[0].abs() == at
        return (text, where) if bool(where.any()) else ("", None)
    if op in {"std", "var"}:
        return "deviation of values that are all equal, where it has no slope", None
    if op in {"div", "reciprocal"} and bool((given[-1] == 0).any()):
        return "division by 0", given[-1] == 0
    if op in {"layer_norm", "batch_norm", "rms_norm", "group_norm"}:
        return "variance 0, and no epsilon", None
    return "", None
