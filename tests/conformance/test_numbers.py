"""Ten steps of two networks, the same weights and batches in every framework: each number that a history holds is that
of the reference, to 1e-5.

What float32 allows was measured on the reference itself, in float32 against float64: over these ten steps the gradient
norms of the two stay within 4e-6 of each other. Two things break that, and the plans avoid both: a ReLU whose input is
so near zero that rounding decides on which side it lies (a gradient moves by 1e-3 at once), and gradients that are zero
but for rounding (the bias before a normalization).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from gradscope import Scope, statistics
from gradscope.reference.activations import ReLU
from gradscope.reference.losses import LOSSES
from gradscope.reference.plans import Plan, convnet, perceptron
from gradscope.reference.trainer import Step, train
from gradscope.row import PARAMETER_QUANTITIES

from tests.conformance.doors import WAYS, door

RELATIVE = 1e-5
RESOLUTION = 2.0**-23
"""Of float32: a weight is known to half of that, and the difference of two weights to all of it. So an update norm is
known to RESOLUTION x parameter norm, and so is the deviation of weights that lie close together (gammas near one)."""
DIFFERENCES = {"update_norm", "parameter_deviation"}
UNKNOWN = {
    ("tensorflow", "watch"): {"gradient_zero_fraction", "gradient_abs_max", "gradient_underflow_fraction"},
}
"""What a way of observing does not look at."""
AFTER = {"update_norm", "moved_fraction", "nonfinite"}
OPEN_END = {("jax", "session")}
"""Where the weights after a step are seen at the next gradient only: of the last step nothing is known of AFTER."""
FULL = {("jax", "watch"): list(range(9))}
"""Steps with full statistics, where they are not those of the schedule: read() was called after each step."""

Cells = dict[tuple[int, str], dict[str, float]]
"""Quantities by step and parameter."""

PLANS: dict[str, Plan] = {
    "perceptron-sgd": perceptron("SGD", 0.02),
    "perceptron-adam": perceptron("Adam", 0.003),
    "convnet-sgd": convnet("SGD", 0.05),
    "convnet-adam": convnet("Adam", 0.003),
}


def details(step: Step, name: str) -> dict[str, float]:
    """Every quantity of one parameter in one step, by the formulas of gradscope.statistics."""
    gradient, before, after = step.gradients[name], step.before[name], step.after[name]
    change, moved = statistics.parameter_change(before, after)
    return {
        "gradient_norm": statistics.l2_norm(gradient),
        "gradient_zero_fraction": statistics.zero_fraction(gradient),
        "gradient_abs_max": statistics.abs_max(gradient),
        "gradient_underflow_fraction": statistics.underflow_fraction(gradient),
        "parameter_norm": statistics.l2_norm(before),
        "parameter_deviation": statistics.deviation(before),
        "update_norm": change,
        "moved_fraction": moved,
        "nonfinite": statistics.nonfinite_count(after),
    }


@functools.cache
def expected(name: str, dtype: str = "f4", hat: bool = False) -> tuple[list[float], Cells]:
    """(loss of every step, quantities by step and parameter) of the reference."""
    found = list(PLANS[name].steps(dtype=dtype, hat=hat))
    return [s.loss for s in found], {(s.number, k): details(s, k) for s in found for k in s.before}


@functools.cache
def observed(framework: str, way: str, name: str) -> Scope:
    """What gradscope saw of the same training in a framework."""
    scope: Scope = door(framework).observed(PLANS[name], way)
    return scope


def compare(
    scope: Scope, wanted: Any, table: str, quantity: str, rename: Any, first: int = 0, last: int | None = None
) -> int:
    """Holds every cell of one quantity to the reference, those after `last` to NaN; gives how many cells there were."""
    cells = scope.histories[0][table]
    count = 0
    for i, step in enumerate(cells.steps.tolist()):
        for j, subject in enumerate(cells.subjects):
            if step < first:
                continue
            known = wanted[step, rename(subject.name)]
            slack = RESOLUTION * known["parameter_norm"] if quantity in DIFFERENCES else 0.0
            found = float(cells.column(quantity)[i, j])
            count += 1
            if last is not None and step > last:
                assert math.isnan(found), (quantity, step, subject.name)
                continue
            assert found == pytest.approx(known[quantity], rel=RELATIVE, abs=slack), (quantity, step, subject.name)
    return count


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("framework", "way"), WAYS, ids=map("-".join, WAYS))
def test_a_framework_gives_the_numbers_of_the_reference(framework: str, way: str, name: str) -> None:
    adapter, scope = door(framework), observed(framework, way, name)
    report = scope.report()
    assert (dict(report.failures), len(scope.histories), report.watched["steps"]) == ({}, 1, 10)
    losses, wanted = expected(name, hat=adapter.HAT)
    history = scope.histories[0]
    assert history["step"].steps.tolist() == list(range(10))
    assert history.run("loss") == pytest.approx(losses, rel=RELATIVE)
    unknown = UNKNOWN.get((framework, way), set())
    rate = math.nan if "learning_rate" in unknown else PLANS[name].rate
    assert history.run("learning_rate") == pytest.approx([rate] * 10, rel=RELATIVE, nan_ok=True)
    parameters = len(PLANS[name].weights)
    assert compare(scope, wanted, "gradient", "gradient_norm", adapter.reference_name) == 10 * parameters
    full = FULL.get((framework, way), [0, 1, 2, 4, 8] if way == "watch" else list(range(10)))
    assert history["parameter"].steps.tolist() == full
    for quantity in PARAMETER_QUANTITIES:
        if quantity in unknown:
            assert np.isnan(history["parameter"].column(quantity)).all(), quantity
        else:
            last = 8 if (framework, way) in OPEN_END and quantity in AFTER else None
            count = compare(scope, wanted, "parameter", quantity, adapter.reference_name, last=last)
            assert count == len(full) * parameters


@pytest.mark.parametrize("name", PLANS)
def test_plain_arrays_give_the_numbers_of_the_reference(name: str) -> None:
    plan, scope = PLANS[name], Scope()
    train(plan.network, plan.weights, LOSSES[plan.loss], plan.solver(), plan.batches, scope)
    losses, wanted = expected(name)
    assert scope.histories[0].run("loss") == pytest.approx(losses, rel=RELATIVE)
    assert compare(scope, wanted, "gradient", "gradient_norm", str) == 10 * len(plan.weights)
    for quantity in PARAMETER_QUANTITIES:  # weights before the first step are not known to it, nor is its update
        assert compare(scope, wanted, "parameter", quantity, str, first=1) == 9 * len(plan.weights)


@pytest.mark.parametrize("name", PLANS)
def test_float32_holds_the_tolerance_itself(name: str) -> None:
    (narrow_losses, narrow), (wide_losses, wide) = expected(name), expected(name, "f8")
    assert narrow_losses == pytest.approx(wide_losses, rel=RELATIVE)
    for cell, known in wide.items():
        assert narrow[cell]["gradient_norm"] == pytest.approx(known["gradient_norm"], rel=RELATIVE / 2), cell
        slack = RESOLUTION * known["parameter_norm"]
        assert narrow[cell]["update_norm"] == pytest.approx(known["update_norm"], rel=RELATIVE, abs=slack), cell


@pytest.mark.parametrize("name", PLANS)
def test_no_relu_of_a_plan_is_so_near_its_kink_that_rounding_decides(name: str) -> None:
    plan, nearest = PLANS[name], np.inf
    for step, (given, _) in zip(plan.steps(dtype="f8"), plan.batches, strict=True):
        x = given.astype("f8")
        for layer in plan.network.layers:
            if isinstance(layer, ReLU):
                nearest = min(nearest, float(np.abs(x).min()))
            x, _ = layer.forward({k: step.before[f"{layer.name}.{k}"] for k in layer.shapes()}, x)
    assert nearest > 2e-5
