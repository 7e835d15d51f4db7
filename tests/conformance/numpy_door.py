"""Plans in the numpy trainer itself, as the workload that `gradscope check` trains."""

from __future__ import annotations

from gradscope import Scope, Settings, Workload
from gradscope.builtin import gradscope_adapters
from gradscope.recipe import Recipe
from gradscope.reference.losses import LOSSES
from gradscope.reference.model import Model
from gradscope.reference.plans import Plan

HAT = False
"""Whether its Adam is the form with epsilon-hat."""


def reference_name(name: str) -> str:
    """What the reference calls a parameter, or a module: the same."""
    return name


def observed(plan: Plan, _way: str) -> Scope:
    """The closed scope of a training."""
    (adapter,) = gradscope_adapters()
    model = Model(plan.network, plan.weights)
    recipe = Recipe(clip_norm=plan.limit)
    solver = plan.solver()
    workload = Workload(model, LOSSES[plan.loss], plan.batches, lambda _weights: solver, recipe)
    scope = Scope(Settings(steps=len(plan.batches)))
    with scope, adapter.session(scope):
        adapter.train(scope, workload)
    return scope
