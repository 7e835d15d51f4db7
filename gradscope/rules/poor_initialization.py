"""GS111 poor-initialization."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.fit import learns
from gradscope.history import Array, History, Subject, Table
from gradscope.rule import NotJudged, rule
from gradscope.trend import layers, output_layers
from gradscope.verdict import Evidence, Role

PLAIN = frozenset({"Linear", "Dense", *(f"Conv{n}{d}" for n in "123" for d in "dD"), "Conv"})
"""Layers that multiply by their weights and do nothing else, as torch, Keras, MXNet and flax call them."""


@rule(
    "GS111",
    explains=(
        "zero-gradient",
        "dead-units",
        "vanishing-gradient",
        "exploding-gradient",
        "stalled-loss",
        "collapsed-output",
        "saturated-units",
        "oversized-update",
        "diverging-loss",
        "non-finite-loss",
        "unchanged-parameter",
        "slow-convergence",
        "undersized-update",
    ),
)
def poor_initialization(
    history: History,
    *,
    low: float = 0.02,
    high: float = 5.0,
    constant: float = 1e-7,
    tiny: float = 0.05,
    depth: int = 2,
    blown: float = 100.0,
    fade: float = 1e-5,
    surge: float = 1e4,
) -> Iterator[Evidence]:
    """Weights start constant, or at a scale that kills or blows up the signal.

    What it does: looks at the first step only. Is a hidden weight matrix constant? Per layer, by which factor does the
    signal change (RMS of output / RMS of input)? Are weights far smaller than their fan-in asks for?

    Why is this bad: constant weights keep all units of a layer equal for ever; a gain far from one is raised to the
    power of the depth.

    Thresholds: low and high, the geometric mean over layers of the gain per layer; PyTorch's own default gives 0.4 to
    0.6 per linear layer, He and Glorot initialization 0.7 to 1.4. fade and surge, gradient of the first layer over the
    last one's in a cold check (ten ReLU layers of PyTorch's default: 1e-3). blown, the gain of the whole model, where
    the layers' own gains multiply. constant, deviation / magnitude of a matrix. tiny, a weight's deviation times the
    root of its fan-in (PyTorch's default: 0.58). A signal or a gradient of exactly zero inside the network is an error
    in a cold check. depth, the fewest layers for which gains are averaged and tiny
    weights count. Reported when the loss does not fall.

    Not flagged: zero-initialized last layers and residual branches of runs that learn.

    References: Glorot & Bengio (2010); He et al. (2015) arXiv:1502.01852.
    """
    progress = learns(history)
    yield from _uniform(history, constant, progress)
    cold = bool(history.facts.get("cold"))
    if progress or (progress is None and not cold):
        return
    role = Role.CAUSE if cold else Role.HARM
    if cold:
        yield from _silent(history)
        yield from _through_depth(history, fade, surge)
    table = history["parameter"]
    if not len(table):
        raise NotJudged("no parameter was measured at the first step")
    outputs = output_layers(history)
    ordered = [m for m, _ in layers(history)]
    norm, deviation = table.column("parameter_norm")[0], table.column("parameter_deviation")[0]
    for i, s in enumerate(table.subjects):
        if not s.traits["matrix"] or not s.traits["optimized"] or s.module in outputs or s.traits["size"] < 4:
            continue
        size = norm[i] / np.sqrt(s.traits["size"])
        if np.isfinite(size) and deviation[i] <= constant * max(size, constant):
            yield Evidence(
                "deviation of the initial weights", float(deviation[i]), "<=", constant, 0, s.name, s.module, role=role
            )
    modules = history["module"]
    gains: list[tuple[float, str]] = []
    for name in ordered:
        at = modules.index(name)
        if at is None or modules.subjects[at].type not in PLAIN:
            continue
        out, given = modules.column("output_mean_square")[0, at], modules.column("input_mean_square")[0, at]
        if given > 0 and out > 0 and np.isfinite(out) and _own_scale(table, deviation, name, out / given, high):
            gains.append((float(np.sqrt(out / given)), name))
    if len(gains) >= depth:
        mean = float(np.exp(np.mean(np.log([g for g, _ in gains]))))
        if mean < low or mean > high:
            extreme = (min if mean < low else max)(gains)
            limit, relation = (low, "<") if mean < low else (high, ">")
            yield Evidence(
                "signal gain per layer at initialization", mean, relation, limit, 0, module=extreme[1], role=role
            )
            return
    for i, s in enumerate(modules.subjects):
        out, given = modules.column("output_mean_square")[0, i], modules.column("input_mean_square")[0, i]
        total = float(np.sqrt(out / given)) if s.traits.get("root") and given > 0 and np.isfinite(out) else 1.0
        if total > blown:
            yield Evidence(
                "signal gain of the whole model at initialization", total, ">", blown, 0, module=s.module, role=role
            )
            return
    small = [s for i, s in enumerate(table.subjects) if _is_tiny(s, deviation[i], tiny) and s.module in ordered]
    hidden = [s for s in table.subjects if s.traits["matrix"] and s.traits["optimized"] and s.module in ordered]
    if len(small) >= depth and 2 * len(small) >= len(hidden):
        for s in small:
            value = float(deviation[table.index(s.name) or 0] * np.sqrt(_fan_in(s)))
            yield Evidence("initial weight deviation x sqrt(fan-in)", value, "<", tiny, 0, s.name, s.module, role=role)


def _fan_in(subject: Subject) -> float:
    return float(subject.traits["fan_in"])


def _is_tiny(subject: Subject, deviation: float, tiny: float) -> bool:
    if not subject.traits["matrix"] or not subject.traits["optimized"] or "Embedding" in subject.traits["module_type"]:
        return False
    return bool(0 < deviation * np.sqrt(_fan_in(subject)) < tiny)


def _own_scale(table: Table, deviation: Array, module: str, gain: float, high: float) -> bool:
    """Whether a large gain comes from the weights of the layer, and not from its bias or from the mean of its input."""
    at = next((i for i, s in enumerate(table.subjects) if s.module == module and s.traits["matrix"]), None)
    return at is None or gain <= high**2 or bool(deviation[at] * np.sqrt(_fan_in(table.subjects[at])) > 2)


def _silent(history: History) -> Iterator[Evidence]:
    """A signal that is exactly zero before it enters the last layer, or a gradient that is so behind it."""
    ordered, table = [m for m, _ in layers(history)], history["module"]
    at = table.index(ordered[-1]) if len(ordered) > 1 else None
    if at is None:
        return
    if table.column("input_mean_square")[0, at] == 0:
        quiet = [m for m in ordered if table.series("output_mean_square", m)[0] == 0] or ordered[-1:]
        yield Evidence("signal RMS that enters the last layer", 0, "=", 0, 0, module=quiet[0], role=Role.HARM)
        return
    rows = history.facts.get("layers", [])
    matrix = next((s for s in history["parameter"].subjects if s.module == ordered[-1] and s.traits["matrix"]), None)
    alive = matrix is not None and history["parameter"].series("parameter_norm", matrix.name)[0] > 0
    if alive and rows and rows[-1]["gradient"] > 0 and rows[0]["gradient"] == 0:
        yield Evidence("gradient RMS at the first layer", 0, "=", 0, 0, module=rows[0]["module"], role=Role.HARM)


def _through_depth(history: History, fade: float, surge: float) -> Iterator[Evidence]:
    """The gradient that reaches the first layer's output beside that of the last one, without any training."""
    rows = [r for r in history.facts.get("layers", []) if r["gradient"] > 0]
    if len(rows) < 3:
        return
    ratio = rows[0]["gradient"] / rows[-1]["gradient"]
    quantity = "gradient RMS at the first layer / at the last"
    if ratio < fade:
        yield Evidence(quantity, ratio, "<", fade, 0, module=rows[0]["module"], role=Role.HARM)
    elif ratio > surge:
        yield Evidence(quantity, ratio, ">", surge, 0, module=rows[0]["module"], role=Role.HARM)


def _uniform(history: History, constant: float, progress: bool | None) -> Iterator[Evidence]:
    """Hidden matrices of one value that is not zero: their units are copies of each other, whatever the loss does."""
    table = history["parameter"]
    if progress is False or not len(table):
        return  # judged with all other signs
    outputs = output_layers(history)
    for i, s in enumerate(table.subjects):
        norm, deviation = float(table.column("parameter_norm")[0, i]), float(table.column("parameter_deviation")[0, i])
        size = norm / np.sqrt(max(s.traits["size"], 1))
        hidden = s.traits["matrix"] and s.traits["optimized"] and s.module not in outputs and min(s.traits["shape"]) > 1
        if hidden and size > 0 and deviation <= constant * size:
            yield Evidence("deviation of the initial weights", deviation, "<=", constant, 0, s.name, s.module)
