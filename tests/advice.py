"""What is told of a verdict: its remedies, and runs that call for some of them."""

import importlib
from dataclasses import replace

import numpy as np
from gradscope.builtin import gradscope_rules, remedy_sources
from gradscope.verdict import Remedy

from tests.specimens import WEIGHTS, healthy_run, judged, stuck

RULES = [r.name for r in gradscope_rules()]
SOURCES = {s.name: s for s in remedy_sources()}


def verdict_of(name: str):
    """The verdict that a rule gives of its own specimen."""
    history = importlib.import_module(f"tests.rules.test_{name.replace('-', '_')}").sick()
    return next(v for v in judged(history).verdicts if v.name == name)


def told(history, rule: str, remedy_name: str) -> Remedy | None:
    """What one remedy says of a verdict in a history."""
    verdict = next(v for v in judged(history).verdicts if v.name == rule)
    return next((r for r in verdict.remedies if r.name == remedy_name), None)


def names_of(history, rule: str) -> list[str]:
    """The remedies of one verdict in a history."""
    return [r.name for r in next(v for v in judged(history).verdicts if v.name == rule).remedies]


def vanishing(kind: str):
    """A run whose first layer starves, with activations of a kind."""
    norms = {"first.weight": 1e-6, "second.weight": 1.0, "output.weight": 1.0}
    history = healthy_run(loss=stuck(100), gradients=norms)
    for at, s in enumerate(history["module"].subjects):
        if s.type == "ReLU":
            history["module"].rename(at, replace(s, type=kind))
    return history


def poisoned(dtype: str, gradient):
    """Weights that are not finite from step 3 on, and a gradient."""
    history = healthy_run(
        loss=stuck(100),
        parameters={"nonfinite": {WEIGHTS[0]: 1.0 * (np.arange(100) >= 3)}},
        gradients={WEIGHTS[0]: gradient},
    )
    for table in ("gradient", "parameter"):
        history[table].rename(0, replace(history[table].subjects[0], type=dtype))
    return history


def large_updates(first: float, later: float, **numbers):
    """A run of too long steps that does not learn; first: update over weights in the first ten steps."""
    share = np.where(np.arange(100) < 10, first, later)
    updates = {"update_norm": dict.fromkeys(WEIGHTS, share), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    return healthy_run(loss=stuck(100), parameters=updates, **numbers)


def swollen():
    """The same, whose weights grow to four times their norm."""
    grown = {
        "update_norm": dict.fromkeys(WEIGHTS, 2.0),
        "parameter_norm": dict.fromkeys(WEIGHTS, 1 + np.arange(100) / 33),
    }
    return healthy_run(loss=stuck(100), parameters=grown)


def half_precision(underflow: float, **run):
    """A run that stands still in float16, and how much of its gradients underflows."""
    history = healthy_run(loss=stuck(100), parameters={"gradient_underflow_fraction": underflow}, run=run)
    for at, s in enumerate(history["parameter"].subjects):
        history["parameter"].rename(at, replace(s, type="float16"))
    return history


BY_NAME = [s for s in SOURCES.values() if not s.rules]
