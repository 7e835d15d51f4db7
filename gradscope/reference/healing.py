"""Healing: a sick training of the reference as it is, and with each of the remedies that may fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.history import History
from gradscope.reference.demonstrations import Demonstration, Treatment
from gradscope.reference.surgery import treat
from gradscope.reference.training import evaluate, fresh, train
from gradscope.report import HEALTHY, Report
from gradscope.scope import Scope
from gradscope.settings import Settings
from gradscope.workload import Workload

SEED = 0


@dataclass(frozen=True, slots=True)
class Course:
    """One training. before, after: the loss of what was held out; NaN where it is not finite. gradients: root mean
    square of the gradient of each layer's kernel, the median over the steps before anything was not finite."""

    treatments: tuple[Treatment, ...]
    before: float
    after: float
    report: Report
    gradients: Mapping[str, float]

    @property
    def name(self) -> str:
        """The remedies, with their settings."""
        return " + ".join(f"{name}{shown(settings)}" for name, settings in self.treatments)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found, and the loss is lower than at the beginning."""
        return self.report.status == HEALTHY and self.after < self.before


def shown(settings: Mapping[str, object]) -> str:
    """The settings in brackets; nothing for none."""
    return f" ({', '.join(f'{k} {v}' for k, v in settings.items())})" if settings else ""


def course(workload: Workload, treatments: tuple[Treatment, ...], steps: int) -> Course:
    """The workload, trained with these remedies; what is given is left as it is."""
    for name, settings in treatments:
        workload = treat(workload, name, settings)
    mine = fresh(workload, SEED)
    before = evaluate(mine).loss
    scope = Scope(Settings(steps=steps))
    train(scope, mine)
    return Course(treatments, before, evaluate(mine).loss, scope.report(), profile(scope.histories[0]))


def profile(history: History) -> dict[str, float]:
    """The gradient of each kernel, in the order of the layers."""
    table = history["gradient"]
    norms = table.column("gradient_norm")
    rows = norms[np.isfinite(norms).all(1)]
    kernels = [(i, s) for i, s in enumerate(table.subjects) if s.traits["matrix"]]
    size = {s.module: math.sqrt(s.traits["size"]) for _, s in kernels}
    return {s.module: float(np.median(rows[:, i])) / size[s.module] if len(rows) else math.nan for i, s in kernels}


def courses(demonstration: Demonstration, steps: int) -> list[Course]:
    """The training as it is, and then with each of the remedies."""
    arms: Sequence[tuple[Treatment, ...]] = ((), *demonstration.treatments)
    return [course(demonstration.make(), treatments, steps) for treatments in arms]


def best(found: Sequence[Course]) -> Course | None:
    """The healthy one whose loss is lowest at the end; None where none is healthy."""
    return min((c for c in found if c.healthy), key=lambda c: c.after, default=None)
