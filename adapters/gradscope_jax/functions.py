"""What enters a loss: functions of optax, cross-entropies and differences written by hand, unprotected logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from gradscope.notes import comparison_traits, logarithm_note, loss_note, site_of

from gradscope_jax import measure
from gradscope_jax.graph import Graph
from gradscope_jax.layers import DATA, SIGNAL, WEIGHT, is_float
from gradscope_jax.origins import Call, Origins
from gradscope_jax.plan import Plan
from gradscope_jax.source import LOSSES

FUNCTIONS = {
    "softmax_cross_entropy_with_integer_labels": "cross_entropy",
    "softmax_cross_entropy": "cross_entropy",
    "sigmoid_binary_cross_entropy": "binary_cross_entropy_with_logits",
    "l2_loss": "mse_loss",
    "squared_error": "mse_loss",
    "huber_loss": "huber_loss",
    "log_cosh": "huber_loss",
    "kl_divergence": "kl_div",
}
"""optax' names and ours, those of torch where the two mean the same."""
RANGES = ("prediction_mean", "prediction_deviation", "prediction_min", "prediction_max")
TARGETS = ("target_mean", "target_deviation", "target_min", "target_max")
MOST_CLASSES = 4096
BINARY = frozenset({"binary_cross_entropy_with_logits", "binary_cross_entropy"})


def comparisons(graph: Graph, origins: Origins) -> list[Plan]:
    """A plan for each place where a prediction meets its target, or a logarithm a probability."""
    found = []
    for call in origins.calls:
        if call.name in LOSSES:
            plan = _library_loss(graph, origins, call)
        elif len(call.instructions) == 1:
            plan = _written_by_hand(graph, origins, call)
        else:
            plan = None
        if plan is not None:
            found.append(plan)
    return found


def _library_loss(graph: Graph, origins: Origins, call: Call) -> Plan | None:
    kinds = origins.flow.kinds
    prediction = next((s for s in call.inputs if kinds[s] == SIGNAL and is_float(graph, s)), None)
    targets = [s for s in call.inputs if s != prediction and kinds[s] != WEIGHT and math.prod(graph.shapes[s]) > 0]
    target = next((s for s in targets if kinds[s] == DATA), targets[0] if targets else None)
    if prediction is None or target is None:
        return None
    function = FUNCTIONS.get(call.name, call.name)
    return comparison(origins, function, call.name, prediction, target, call.output, call.line)


def _written_by_hand(graph: Graph, origins: Origins, call: Call) -> Plan | None:
    one, kinds = call.instructions[0], origins.flow.kinds
    signals = [s for s in one.inputs if kinds[s] == SIGNAL and is_float(graph, s)]
    if not signals:
        return None
    given = signals[0]
    origin = origins[given]
    if one.name == "log" and origin.operation in {"sigmoid", "softmax"}:
        return logarithm(origins, given, call.line)
    if len(signals) > 1 or kinds[call.output] != SIGNAL:
        return None
    others = [s for s in one.inputs if s != given and kinds[s] == DATA]
    if not others:
        return None
    other = others[0]
    if one.name == "gather" and origin.operation == "log_softmax" and len(graph.shapes[given]) > 1:
        return picked(origins, given, other, call.output, call.line)
    if given in origins.flow.before_layers or call.output in origins.flow.before_layers:
        return None
    if one.name == "mul" and origin.operation == "log_softmax" and graph.shapes[other] == graph.shapes[given]:
        return comparison(origins, "nll_loss", "log_softmax", given, other, call.output, call.line)
    if one.name == "mul" and given in origins.logarithms and is_float(graph, other):
        return _probabilities(origins, origins.logarithms[given], other, call)
    if one.name == "sub" and is_float(graph, other) and math.prod(graph.shapes[other]) > 1:
        given, other = _unbroadcast(graph, given), _unbroadcast(graph, other)
        return comparison(origins, "difference", "difference", given, other, None, call.line)
    return None


def _probabilities(origins: Origins, given: int, other: int, call: Call) -> Plan | None:
    """target * log(probability): a cross-entropy written by hand, of classes that compete or of each by itself."""
    shape = origins.graph.shapes[given]
    if math.prod(origins.graph.shapes[other]) != math.prod(shape):
        return None
    several = origins[given].operation == "softmax" and len(shape) > 1 and shape[-1] > 1
    function = "categorical_cross_entropy" if several else "binary_cross_entropy"
    return comparison(origins, function, "log", given, other, call.output, call.line)


def _unbroadcast(graph: Graph, slot: int) -> int:
    """The slot before its values were repeated to fit another's shape."""
    maker = next((i for i in graph.instructions if slot in i.outputs), None)
    if maker is not None and maker.name == "broadcast_in_dim":
        given, made = graph.shapes[maker.inputs[0]], graph.shapes[slot]
        led = made == (1,) * (len(made) - len(given)) + given  # [n] becomes [1, n] before it meets [n, 1]
        return maker.inputs[0] if math.prod(given) > 1 and (led or math.prod(given) < math.prod(made)) else slot
    return slot


def comparison(
    origins: Origins, function: str, name: str, prediction: int, target: int, result: int | None, line: str | None
) -> Plan:
    """The plan of a prediction that meets its target."""
    graph, origin = origins.graph, origins[prediction]
    p_shape, t_shape = graph.shapes[prediction], graph.shapes[target]
    classes = function in {"cross_entropy", "nll_loss", "categorical_cross_entropy"} and len(p_shape) > 1
    traits = comparison_traits(function, origin, p_shape, t_shape, classes=classes and t_shape != p_shape)
    traits["target_carries_gradient"] = origins.flow.kinds[target] == SIGNAL
    tail = ""
    measure_values: Callable[..., Any]
    quantities: tuple[str, ...]
    if classes:
        quantities = ("value", *RANGES, "batch_size", "margin", "target_purity", "target_elements")
        measure_values, tail = _class_values(function), "classes" if p_shape[-1] <= MOST_CLASSES else ""
    else:
        quantities = (
            *("value", *RANGES, "batch_size", *TARGETS, "prediction_elements", "target_elements", "loss_elements"),
            *("broadcast", "prediction_squared_error", "target_purity"),
        )
        measure_values, tail = _values(function, p_shape, t_shape), "classes" if function in BINARY else ""
    slots = (prediction, target) if result is None else (prediction, target, result)
    return Plan(loss_note(site_of(name, line), quantities, None, traits), slots, measure_values, tail)


def _class_values(function: str) -> Callable[..., Any]:
    def values(p: Any, t: Any, result: Any) -> Any:
        classes = p.shape[-1]
        if t.shape == p.shape:
            counts = measure.wide(t).reshape(-1, classes).sum(0)
            purity = jnp.nan
        else:
            labels = t.ravel().astype(jnp.int32)
            valid = (labels >= 0) & (labels < classes)
            counts = jnp.bincount(jnp.where(valid, labels, 0), weights=valid.astype(jnp.float32), length=classes)
            purity = jnp.square(counts / jnp.maximum(counts.sum(), 1)).sum()
        value = measure.mean(measure.wide(result))
        if function != "cross_entropy":
            value = -value * classes if result.shape == p.shape else -value
        head = [value, *measure.spread(p), float(p.shape[0]), measure.probability_margin(p), purity, counts.sum()]
        return jnp.concatenate([jnp.stack([jnp.asarray(h, jnp.float32) for h in head]), counts.astype(jnp.float32)])

    return values


def _values(function: str, p_shape: tuple[int, ...], t_shape: tuple[int, ...]) -> Callable[..., Any]:
    p_size, t_size = math.prod(p_shape), math.prod(t_shape)
    try:
        elements = math.prod(np.broadcast_shapes(p_shape, t_shape))
    except ValueError:
        elements = max(p_size, t_size)

    def values(p: Any, t: Any, result: Any = None) -> Any:
        target = measure.wide(t)
        error = purity = jnp.nan
        if p_size == t_size and t_size > 1 and function not in BINARY:
            error = measure.mean(jnp.square(measure.wide(p).ravel() - target.ravel()))
        if function in BINARY:
            share = measure.mean(target)
            purity = share**2 + (1 - share) ** 2
        value = jnp.nan
        if function == "binary_cross_entropy":
            inside = jnp.clip(measure.wide(p).ravel(), 1e-7, 1 - 1e-7)
            flat_target = target.ravel()
            value = -measure.mean(flat_target * jnp.log(inside) + (1 - flat_target) * jnp.log1p(-inside))
        elif function in BINARY and result is not None:
            value = measure.mean(measure.wide(result))
        numbers = [value, *measure.spread(p), float(p_shape[0] if p_shape else 1), *measure.spread(target)]
        numbers += [p_size, t_size, elements, float(elements > max(p_size, t_size)), error, purity]
        flat = jnp.stack([jnp.asarray(n, jnp.float32) for n in numbers])
        if function not in BINARY:
            return flat
        ones = measure.total(target)
        return jnp.concatenate([flat, jnp.stack([t_size - ones, ones]).astype(jnp.float32)])

    return values


def picked(origins: Origins, logs: int, indices: int, result: int, line: str | None) -> Plan | None:
    """log_probabilities[arange, labels]: a cross-entropy written by hand."""
    graph = origins.graph
    given = graph.shapes[indices]
    if not given or math.prod(graph.shapes[result]) != math.prod(given[:-1]):
        return None
    plan = comparison(origins, "nll_loss", "log_softmax", logs, indices, result, line)
    count = _class_values("nll_loss")
    plan.measure = lambda p, index, found: count(p, index[..., -1].reshape(-1), found.ravel())
    plan.note.traits |= {"classes": True, "target_shape": given[:-1]}
    return plan


def logarithm(origins: Origins, given: int, line: str | None) -> Plan:
    """log of what a sigmoid or softmax returned, unprotected: how near to zero its argument came."""
    note = logarithm_note(origins[given], None, line)
    return Plan(note, (given,), lambda p: measure.wide(p).min().reshape(1))
