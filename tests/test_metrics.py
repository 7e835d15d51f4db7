"""The metrics of a step, against the arrays that it was told of."""

import math

import gradscope
import numpy as np
import pytest
from gradscope.history import RUN
from gradscope.metrics import Point, counted, largest, metrics_of, next_count, points_after

pytestmark = pytest.mark.usefixtures("nowhere")


def history(steps: int = 3):
    """Two parameters, a matrix and a vector, whose gradients grow by the step and whose weights grow by 1 %."""
    scope = gradscope.watch()
    for step in range(steps):
        weight, bias = np.full((2, 2), 1.01**step), np.full(2, 5.0 * step)
        gradients = {"w": np.full((2, 2), 3.0 * (step + 1)), "b": np.full(2, 1.0), "unused": None}
        scope.observe(step=step, gradients=gradients, parameters={"w": weight, "b": bias}, loss=1.0)
    return scope.histories[0]


def test_the_total_norm_is_that_of_all_gradients_as_one_vector():
    values = metrics_of(history(), 1)
    assert values["grad_norm_total"] == pytest.approx(math.sqrt(4 * 6.0**2 + 2 * 1.0**2))


def test_the_largest_ratio_is_that_of_matrices():
    values = metrics_of(history(), 2)
    assert values["update_ratio_max"] == pytest.approx(0.01, rel=1e-5)


def test_a_step_without_updates_has_no_ratio():
    assert "update_ratio_max" not in metrics_of(history(), 0)


def test_parameters_are_told_on_request():
    values = metrics_of(history(), 2, each=True)
    assert values["grad_norm/w"] == pytest.approx(18.0)
    assert values["grad_norm/b"] == pytest.approx(math.sqrt(2))
    assert values["update_ratio/w"] == pytest.approx(0.01, rel=1e-5)
    assert "grad_norm/unused" not in values


def test_a_norm_that_was_clipped_is_told_before_and_after():
    one = history()
    one["step"].record(1, {"clip_before": {RUN: 50.0}, "clip_limit": {RUN: 12.0}})
    values = metrics_of(one, 1)
    assert (values["grad_norm_total"], values["grad_norm_clipped"]) == (50.0, pytest.approx(math.sqrt(146)))


def test_a_norm_without_a_limit_is_told_once():
    one = history()
    one["step"].record(1, {"clip_before": {RUN: 12.0}, "clip_limit": {RUN: math.inf}})
    values = metrics_of(one, 1)
    assert values["grad_norm_total"] == 12.0
    assert "grad_norm_clipped" not in values


def test_the_scale_of_mixed_precision_is_told():
    one = history()
    one["step"].record(1, {"loss_scale": {RUN: 1024.0}})
    assert metrics_of(one, 1)["loss_scale"] == 1024.0
    assert "loss_scale" not in metrics_of(one, 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told_as_it_is(bad):
    scope = gradscope.watch()
    scope.observe(step=0, gradients={"w": [bad], "b": [1.0]})
    assert metrics_of(scope.histories[0], 0)["grad_norm_total"] == pytest.approx(bad, nan_ok=True)


def test_points_are_those_after_a_step():
    assert [p.step for p in points_after(history(5), 2)] == [3, 4]
    assert [p.step for p in points_after(history(3), -1)] == [0, 1, 2]


def test_the_largest_of_several_points_keeps_what_is_no_number():
    points = [Point(0, {"a": 1.0, "b": 7.0}), Point(1, {"a": math.nan}), Point(2, {"a": 2.0})]
    found = largest(points)
    assert math.isnan(found["a"])
    assert found["b"] == 7.0


def test_errors_and_warnings_are_counted():
    scope = gradscope.watch(settings={})
    for step in range(30):
        scope.observe(step=step, gradients={"w": [1.0]}, loss=math.nan if step > 20 else 1.0 / (step + 1))
    assert counted(scope.report())["errors"] >= 1.0


@pytest.mark.parametrize(
    ("steps", "every", "following"), [(0, 100, 100), (900, 100, 1000), (5000, 100, 5500), (3, 1, 4)]
)
def test_verdicts_are_counted_more_rarely_the_longer_a_run_is(steps, every, following):
    assert next_count(steps, every) == following
