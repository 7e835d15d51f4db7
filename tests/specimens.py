"""Histories written by hand: a small network that learns, and the ways to make it sick.

`healthy_run()` is a regression by a three-layer ReLU network, every table written in every step. Its keywords replace
numbers: a value, or one value per step. `signs()` is what one rule shows of a history, as a set to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from gradscope.diagnosis import diagnose
from gradscope.history import RUN, History, Subject
from gradscope.plugins import Plugins
from gradscope.report import Report
from gradscope.rule import Rule
from gradscope.settings import Settings
from gradscope.verdict import Evidence

LAYERS = {"first": (32, 10), "second": (32, 32), "output": (1, 32)}
"""module -> shape of its weight, in the order of execution."""
CALL = "mse_loss at train.py:20"
"""The one loss call of the healthy run."""
DATA = "data of first"
"""The one input of the healthy run; it enters the module `first`."""
WEIGHTS = tuple(f"{m}.weight" for m in LAYERS)
PARAMETERS = tuple(f"{m}.{kind}" for m in LAYERS for kind in ("weight", "bias"))

Values = Any
"""A number, or one number per step; None is never observed."""
Changes = Mapping[str, Any]
"""quantity -> Values, or subject -> Values for some of the subjects."""
NOTHING: Changes = MappingProxyType({})


def noise(steps: int, size: float = 1.0, seed: int = 0) -> np.ndarray:
    """Numbers without a trend, between -size and size; every neighbouring pair sums to zero."""
    half = np.random.default_rng(seed).uniform(-size, size, (steps + 1) // 2)
    return np.stack([half, -half], axis=1).ravel()[:steps]


def learning(steps: int) -> np.ndarray:
    """A loss that falls from 1, that of a constant prediction, to 0.05."""
    return (0.05 + 0.95 * np.exp(-5 * np.arange(steps) / steps)) * (1 + noise(steps, 0.02))


def stuck(steps: int, level: float = 1.0) -> np.ndarray:
    """A loss that stays at that of a constant prediction."""
    return level * (1 + noise(steps, 0.01))


def healthy_run(
    steps: int = 100,
    *,
    loss: Values = None,
    run: Changes = NOTHING,
    gradients: Changes = NOTHING,
    parameters: Changes = NOTHING,
    modules: Changes = NOTHING,
    call: Changes | None = NOTHING,
    inputs: Changes = NOTHING,
    traits: Mapping[str, Changes] = NOTHING,
    classes: Any = None,
    **facts: Any,
) -> History:
    """The history of a network that learns, with some numbers replaced.

    loss: of each step; it is the error of the prediction too. run, call, inputs: quantity -> values. gradients:
    parameter -> norms. parameters, modules: quantity -> values, or quantity -> {subject: values}. call=None: no loss
    call was understood. traits: subject -> its other traits. classes: counts, for targets that are classes.
    """
    losses = np.broadcast_to(learning(steps) if loss is None else loss, (steps,)).astype("f8")
    size = np.sqrt(np.minimum(np.abs(np.nan_to_num(losses, posinf=1.0, neginf=1.0)), 1.0))
    called = {"framework": "torch", "optimizer": "SGD", "objective": "SGD", "called": ("", *LAYERS)}
    history = History(**(called | facts))
    add_subjects(history, traits, with_call=call is not None)
    write(history, "step", steps, {q: {RUN: v} for q, v in (run_numbers(losses) | dict(run)).items()})
    write(history, "gradient", steps, {"gradient_norm": gradient_norms(size) | dict(gradients)})
    write(history, "parameter", steps, changed(parameter_numbers(), parameters))
    write(history, "module", steps, changed(module_numbers(), modules))
    write(history, "input", steps, {q: {DATA: v} for q, v in (input_numbers() | dict(inputs)).items()})
    if call is not None:
        write(history, "loss", steps, {q: {CALL: v} for q, v in (call_numbers(losses) | dict(call)).items()})
        if classes is not None:
            history.count_classes(CALL, np.asarray(classes, "f8"))
    return history


def add_subjects(history: History, traits: Mapping[str, Changes], *, with_call: bool) -> None:
    """The parameters, modules, activations, the loss call and the data of the network."""

    def add(table: str, subject: Subject) -> None:
        own = dict(subject.traits) | dict(traits.get(subject.name, {}))
        history[table].add(replace(subject, traits=own))

    for at, (module, shape) in enumerate(LAYERS.items()):
        source = f"model.py:{10 + at}"
        for kind, dims in (("weight", shape), ("bias", shape[:1])):
            own = {
                "optimized": True,
                "elsewhere": False,
                "trainable": True,
                "shape": dims,
                "size": int(np.prod(dims)),
                "fan_in": int(np.prod(dims[1:])),
                "matrix": len(dims) > 1,
                "module_type": "Linear",
                "library": False,
                "training": True,
                "reachable": True,
            }
            for table in ("gradient", "parameter"):
                add(table, Subject(f"{module}.{kind}", module, "float32", source, own))
        add("module", Subject(module, module, "Linear", source, {"root": False, "units": shape[0]}))
        if module != "output":
            add("module", Subject(f"{module}: relu", module, "ReLU", None, {"root": False, "units": shape[0]}))
    add("module", Subject("", "", "Net", "model.py:9", {"root": True, "units": 1}))
    add("input", Subject(DATA, "first", "float32", None, {"consumer": "Linear"}))
    if with_call:
        own = {
            "function": "mse_loss",
            "operation": "",
            "layer": "output",
            "classes": False,
            "reduction": "mean",
            "one_unit_softmax": False,
            "target_carries_gradient": False,
            "prediction_shape": (32, 1),
            "target_shape": (32, 1),
        }
        add("loss", Subject(CALL, "output", "mse_loss", "train.py:20", own))


def run_numbers(losses: np.ndarray) -> dict[str, Values]:
    """The step table of a sound run: no clipping, no scaler, gradients cleared, batches of 32."""
    return {
        "loss": losses,
        "loss_nonfinite": (~np.isfinite(losses)).astype(float),
        "learning_rate": 0.1,
        "skipped": 0,
        "carried_over": 0,
        "cleared_early": 0,
        "backward_passes": 1,
        "batch_size": 32,
        "gradient_cosine": 0.3,
    }


def gradient_norms(size: np.ndarray) -> dict[str, Values]:
    """Gradients in proportion to the root of the loss, of equal RMS in every layer."""
    return {f"{m}.weight": size * 0.03 * np.sqrt(np.prod(s)) for m, s in LAYERS.items()} | {
        f"{m}.bias": size * 0.03 * np.sqrt(s[0]) for m, s in LAYERS.items()
    }


def parameter_numbers() -> dict[str, dict[str, Values]]:
    """Weights of PyTorch's default scale that move by half a percent a step."""
    deviation = {f"{m}.{k}": 0.58 / np.sqrt(s[1]) for m, s in LAYERS.items() for k in ("weight", "bias")}
    sizes = {f"{m}.weight": np.prod(s) for m, s in LAYERS.items()} | {f"{m}.bias": s[0] for m, s in LAYERS.items()}
    norm = {p: deviation[p] * np.sqrt(sizes[p]) for p in PARAMETERS}
    every = {
        "gradient_zero_fraction": 0.0,
        "gradient_abs_max": 0.1,
        "gradient_underflow_fraction": 0.0,
        "moved_fraction": 1.0,
        "nonfinite": 0,
    }
    return {q: dict.fromkeys(PARAMETERS, v) for q, v in every.items()} | {
        "parameter_norm": norm,
        "parameter_deviation": deviation,
        "update_norm": {p: 0.005 * v for p, v in norm.items()},
    }


def module_numbers() -> dict[str, dict[str, Values]]:
    """A signal that keeps its size, an output that varies over the batch, and a tenth of dead units."""
    order = {m: i for i, m in enumerate(("first", "first: relu", "second", "second: relu", "output", ""))}
    every = {"output_mean_square": 0.4, "input_mean_square": 1.0, "batch_variation": 0.5}
    none = {"output_nonfinite": 0, "input_nonfinite": 0}
    relus = ("first: relu", "second: relu")
    return {q: dict.fromkeys(order, v) for q, v in (every | none).items()} | {
        "order": order,
        "zero_fraction": dict.fromkeys(relus, 0.5),
        "dead_fraction": dict.fromkeys(relus, 0.1),
    }


def input_numbers() -> dict[str, Values]:
    """Standardized data."""
    return {
        "mean": 0.0,
        "deviation": 1.0,
        "abs_max": 3.0,
        "feature_ratio": 1.2,
        "largest_feature": 4,
        "nonfinite": 0,
        "batch_size": 32,
    }


def call_numbers(losses: np.ndarray) -> dict[str, Values]:
    """Targets of mean 0 and deviation 1, and predictions that spread as they come to explain them."""
    return {
        "value": losses,
        "batch_size": 32,
        "prediction_mean": 0.0,
        "prediction_deviation": 0.5,
        "prediction_min": -1.5,
        "prediction_max": 1.5,
        "prediction_squared_error": losses,
        "target_mean": 0.0,
        "target_deviation": 1.0,
        "target_min": -2.0,
        "target_max": 2.0,
        "broadcast": 0,
        "prediction_elements": 32,
        "target_elements": 32,
        "loss_elements": 32,
    }


def changed(numbers: dict[str, dict[str, Values]], changes: Changes) -> dict[str, dict[str, Values]]:
    """The numbers with some replaced; a value that is no mapping is for all subjects that have one."""
    result = {q: dict(v) for q, v in numbers.items()}
    for quantity, given in changes.items():
        known = result.setdefault(quantity, {})
        known |= given if isinstance(given, Mapping) else dict.fromkeys(known, given)
    return result


def write(history: History, table: str, steps: int, numbers: Mapping[str, Mapping[str, Values]]) -> None:
    """Records every step of a table."""
    rows = {
        q: {s: np.broadcast_to(np.asarray(v, "f8"), (steps,)) for s, v in by_subject.items() if v is not None}
        for q, by_subject in numbers.items()
    }
    for step in range(steps):
        history[table].record(step, {q: {s: v[step] for s, v in series.items()} for q, series in rows.items()})


# -- what a history shows --------------------------------------------------------------------------------------------


def found(rule: Rule, history: History, **thresholds: float) -> list[Evidence]:
    """The evidence of one rule, judged as diagnose() does."""
    with np.errstate(all="ignore"):
        return list(rule.judge(history, **rule.with_thresholds(thresholds)))


def signs(rule: Rule, history: History, **thresholds: float) -> set[tuple[str, str | None, str]]:
    """{(quantity, parameter or module, role)} of one rule."""
    return {(e.quantity, e.parameter or e.module, str(e.role)) for e in found(rule, history, **thresholds)}


def judged(*histories: History, plugins: Plugins | None = None, **settings: Any) -> Report:
    """The report of all rules on some histories."""
    return diagnose(histories, Settings(**settings), plugins or Plugins())


# -- the same run, told otherwise ------------------------------------------------------------------------------------


def scaled(history: History, factor: float) -> History:
    """The run as it would have been with its loss multiplied, under an optimizer to which that makes no difference.

    The loss, its gradients and the clipping limit grow by the factor; updates, and what the loss function was given
    and gave, stay as they are.
    """
    for quantity in ("loss", "clip_before", "clip_limit"):
        history.run(quantity)[:] *= factor
    norms = history["gradient"].column("gradient_norm")
    norms[norms > 0] *= factor
    history["parameter"].column("gradient_abs_max")[:] *= factor
    return history


def renamed(history: History) -> History:
    """The run of the same network in which every module and parameter has another name, in another order."""
    modules = {s.module for t in ("gradient", "module", "loss", "input") for s in history[t].subjects} - {""}
    names = {m: f"part_{chr(ord('z') - i)}" for i, m in enumerate(sorted(modules))} | {"": ""}
    for table in ("gradient", "parameter", "module", "loss", "input"):
        for at, s in enumerate(history[table].subjects):
            traits = dict(s.traits)
            if "layer" in traits:
                traits["layer"] = names.get(traits["layer"], traits["layer"])
            history[table].rename(at, replace(s, name=renaming(table, s, names), module=names[s.module], traits=traits))
    history.facts["called"] = tuple(names[m] for m in history.facts["called"])
    history.facts["layers"] = [r | {"module": names[r["module"]]} for r in history.facts.get("layers", [])]
    return history


def renaming(table: str, subject: Subject, names: Mapping[str, str]) -> str:
    """The new name of one subject: neither its module nor its own part of the name stays. Loss calls keep theirs."""
    if table in {"gradient", "parameter"}:
        return f"{names[subject.module]}.{ {'weight': 'kernel', 'bias': 'shift'}[subject.name.rpartition('.')[2]] }"
    if table == "module":
        return names.get(subject.name, f"act of {names[subject.module]}")
    return subject.name
