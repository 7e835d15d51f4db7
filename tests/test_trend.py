"""How a history is read: trends, the sound part, spikes, the order of layers, what is usual."""

import math

import numpy as np
import pytest
from gradscope.history import MISSING, UNOBSERVED, History
from gradscope.trend import (
    batch_size,
    first_nonfinite_step,
    layers,
    loss_trend,
    observed,
    output_layers,
    sound_rows,
    spikes_of,
    total_gradient,
    trend_of,
    update_ratios,
)
from gradscope.usual import rounded, usual_gradient, usual_rate

from tests.specimens import PARAMETERS, WEIGHTS, healthy_run, learning, noise


def test_a_trend_needs_ten_values():
    assert trend_of(np.ones(9)) is None
    assert trend_of([math.nan] * 20 + [1.0] * 9) is None
    assert trend_of(np.ones(10)) is not None


@pytest.mark.parametrize(
    ("series", "falling", "rising"),
    [
        (learning(100), True, False),
        (learning(100)[::-1], False, True),
        (np.ones(100), False, False),
        (1 + noise(100, 0.5), False, False),
        (np.linspace(1, 0.96, 100), False, False),
        (np.linspace(1, 0.9, 100), True, False),
        (np.linspace(1, 1.1, 100), False, True),
        (-np.linspace(1, 2, 100), True, False),
    ],
)
def test_a_trend_falls_or_rises_by_five_percent_beyond_its_noise(series, falling, rising):
    trend = trend_of(series)
    assert (trend.falling, trend.rising) == (falling, rising)


def test_outliers_do_not_count():
    series = np.where(np.arange(100) % 25 == 24, 1e9, np.linspace(1, 0.5, 100))
    assert trend_of(series).falling


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_trend_has_no_unit(factor):
    one, other = trend_of(learning(100)), trend_of(factor * learning(100))
    assert (other.gain, other.significance) == pytest.approx((one.gain, one.significance))
    assert other.noise == pytest.approx(factor * one.noise)


def test_the_trend_of_the_loss_ends_before_the_first_that_is_not_finite():
    loss = np.concatenate([learning(50), [math.inf], np.full(49, 1e9)])
    assert loss_trend(healthy_run(100, loss=loss, call=None)).steps == 50


def test_a_healthy_run_has_no_step_that_is_not_finite():
    assert first_nonfinite_step(healthy_run()) is None


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"loss": np.where(np.arange(100) < 40, 1.0, math.nan)}, 40),
        ({"gradients": {"first.weight": np.where(np.arange(100) < 30, 1.0, math.inf)}}, 30),
        ({"parameters": {"nonfinite": {"first.weight": np.arange(100) >= 20}}}, 20),
    ],
)
def test_the_first_step_that_is_not_finite_ends_the_sound_part(changes, first):
    history = healthy_run(**changes)
    assert first_nonfinite_step(history) == first
    assert sound_rows(history, history["gradient"]).sum() == first


def test_a_gradient_that_a_loss_scaler_skipped_does_not_end_the_sound_part():
    first = np.arange(100) < 3
    history = healthy_run(gradients={"first.weight": np.where(first, math.inf, 1.0)}, run={"skipped": first})
    assert first_nonfinite_step(history) is None


def test_the_sound_part_ends_at_the_right_step_when_steps_were_thinned_out():
    norms = np.where(np.arange(3000) < 2900, 1.0, math.nan)
    history = healthy_run(3000, gradients={"first.weight": norms}, budget=2**20)
    assert history["step"].dropped != history["gradient"].dropped
    assert first_nonfinite_step(history) == 2900


def test_the_total_gradient_is_the_norm_over_all_parameters():
    gradients = dict.fromkeys(PARAMETERS, 0.0) | {"first.weight": 3.0, "output.bias": 4.0}
    assert total_gradient(healthy_run(gradients=gradients))[0] == 5.0


@pytest.mark.parametrize("absent", [MISSING, UNOBSERVED])
def test_what_got_no_gradient_adds_nothing(absent):
    gradients = dict.fromkeys(PARAMETERS, absent) | {"first.weight": 3.0}
    assert total_gradient(healthy_run(gradients=gradients))[0] == 3.0


def test_the_total_gradient_is_that_before_clipping():
    history = healthy_run(gradients=dict.fromkeys(PARAMETERS, 0.1), run={"clip_before": 70.0, "clip_limit": 1.0})
    assert total_gradient(history)[0] == 70.0


def test_a_spike_is_told_with_its_ratio():
    norms = np.where(np.arange(100) == 50, 200.0, 1.0)
    rows, ratios = spikes_of(healthy_run(gradients=dict.fromkeys(PARAMETERS, norms)), factor=100, settled=5, wide=10)
    assert (rows.tolist(), ratios.tolist()) == ([50], pytest.approx([200.0]))


def test_update_ratios_are_beside_the_largest_norm_so_far():
    parameters = {"parameter_norm": {"first.weight": np.linspace(10, 1, 100)}, "update_norm": {"first.weight": 1.0}}
    assert update_ratios(healthy_run(parameters=parameters))[:, 0] == pytest.approx(0.1)


def test_a_parameter_born_zero_has_no_update_ratio():
    ratios = update_ratios(healthy_run(parameters={"parameter_norm": {"first.weight": 0.0}}))
    assert np.isnan(ratios[:, 0]).all()


def test_observed_is_what_was_looked_at():
    assert observed(np.array([UNOBSERVED, MISSING, 0.0, math.nan])).tolist() == [False, True, True, True]


def test_layers_are_in_the_order_of_execution():
    history = healthy_run(modules={"order": {"first": 4, "output": 0}})
    assert [m for m, _ in layers(history)] == ["output", "second", "first"]


def test_layers_are_unknown_when_no_module_was_seen():
    assert layers(History()) == []


@pytest.mark.parametrize("changes", [{}, {"call": None}])
def test_the_output_layer_is_the_one_that_enters_the_loss_or_runs_last(changes):
    assert output_layers(healthy_run(**changes)) == {"output"}


def test_the_usual_batch_rate_and_gradient_are_medians():
    history = healthy_run(gradients=dict.fromkeys(PARAMETERS, 0.0) | {WEIGHTS[0]: np.arange(100) + 1})
    assert (batch_size(history), usual_rate(history), usual_gradient(history)) == (32, 0.1, 50.5)


def test_what_was_never_seen_is_unknown():
    history = healthy_run(run={"batch_size": None, "learning_rate": None}, gradients=dict.fromkeys(PARAMETERS, 0))
    assert math.isnan(batch_size(history))
    assert (usual_rate(history), usual_gradient(history)) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"), [(1.3, 1), (1.6, 2), (3.4, 2), (4, 5), (8, 10), (0.00031, 0.0002), (0, 0), (4.4e7, 5e7)]
)
def test_advice_is_rounded_to_one_two_or_five(value, expected):
    assert rounded(value) == pytest.approx(expected)
