"""How a history is read: trends, fits, progress, spikes, the order of layers."""

import math

import numpy as np
import pytest
from gradscope.fit import changes_sign, fit_of, learns, main_site
from gradscope.history import MISSING, UNOBSERVED, History, Subject
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

from tests.specimens import CALL, PARAMETERS, WEIGHTS, healthy_run, learning, noise, stuck


def blind(loss) -> History:
    """A run of which the loss alone is known."""
    return healthy_run(len(loss), loss=np.asarray(loss), call=None)


# -- trends ----------------------------------------------------------------------------------------------------------


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
    assert loss_trend(blind(loss)).steps == 50


# -- fits ------------------------------------------------------------------------------------------------------------


def test_the_fit_is_the_error_beside_that_of_a_constant():
    fit = fit_of(healthy_run(loss=np.full(100, 8.0), call={"target_deviation": 2.0}))
    assert (fit.opening, fit.closing, fit.baseline, fit.site.name) == (2.0, 2.0, 4.0, CALL)


def test_the_variance_between_batches_belongs_to_the_constants_error():
    means = np.where(np.arange(100) % 2, 3.0, -3.0)
    fit = fit_of(healthy_run(call={"target_mean": means}))
    assert fit.baseline == pytest.approx(1 + (1.4826 * 3) ** 2)


@pytest.mark.parametrize(("reduction", "loss", "closing"), [("mean", math.log(2), 1.0), ("sum", 32 * math.log(2), 1.0)])
def test_the_fit_of_classes_is_beside_their_entropy(reduction, loss, closing):
    traits = {CALL: {"function": "cross_entropy", "classes": True, "reduction": reduction}}
    fit = fit_of(healthy_run(loss=np.full(100, loss), traits=traits, classes=[7, 7]))
    assert fit.closing == pytest.approx(closing)


@pytest.mark.parametrize(
    "history",
    [
        healthy_run(call=None),
        healthy_run(traits={CALL: {"function": "poisson_nll_loss"}}),
        healthy_run(call={"target_deviation": 0.0}),
        healthy_run(traits={CALL: {"function": "cross_entropy"}}, classes=[9, 0]),
        healthy_run(traits={CALL: {"target_carries_gradient": True}}),
        healthy_run(9),
    ],
)
def test_without_a_known_constant_there_is_no_fit(history):
    assert fit_of(history) is None


def test_the_main_loss_call_is_the_one_seen_most_often():
    history = healthy_run()
    history["loss"].add(Subject("rare", traits={"function": "mse_loss"}))
    history["loss"].record(99, {"target_elements": {"rare": 32}})
    assert main_site(history).name == CALL


def test_the_mean_of_the_fit_counts_what_its_median_passes_over():
    fit = fit_of(healthy_run(loss=np.where(np.arange(100) % 10 == 9, 11.0, 1.0)))
    assert (fit.closing, fit.mean) == (1.0, pytest.approx(2.0))


def test_a_difference_of_every_pair_is_no_prediction_of_a_target():
    shapes = {"function": "difference", "prediction_shape": (32, 1, 2), "target_shape": (1, 32, 2)}
    assert main_site(healthy_run(traits={CALL: shapes})) is None


# -- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "progress"),
    [
        pytest.param(healthy_run(), True, id="falls"),
        pytest.param(healthy_run(loss=stuck(100)), False, id="no better than a constant"),
        pytest.param(blind(learning(100)), True, id="falls, no prediction known"),
        pytest.param(blind(stuck(100)), False, id="stands still, no prediction known"),
        pytest.param(blind(noise(100)), None, id="on both sides of zero"),
        pytest.param(blind(np.ones(5)), None, id="too short"),
        pytest.param(blind(learning(100)[::-1]), None, id="merely rises, no prediction known"),
        pytest.param(
            healthy_run(loss=learning(100)[::-1], call=None, parameters={"update_norm": dict.fromkeys(WEIGHTS, 9.0)}),
            False,
            id="rises and replaces its weights",
        ),
        pytest.param(healthy_run(competing=True), None, id="competing objectives"),
        pytest.param(healthy_run(loss=np.append(learning(99), math.nan)), False, id="loss not finite"),
        pytest.param(
            healthy_run(gradients={"first.weight": np.append(np.ones(99), math.nan)}), False, id="gradient not finite"
        ),
        pytest.param(healthy_run(parameters={"nonfinite": {"first.weight": 1}}), False, id="weights not finite"),
    ],
)
def test_a_run_learns_or_does_not_or_cannot_be_told(history, progress):
    assert learns(history) is progress


@pytest.mark.parametrize(("share", "signs"), [(11, True), (10, False)])
def test_a_loss_changes_sign_when_a_tenth_lies_on_the_other_side(share, signs):
    assert changes_sign(blind(np.where(np.arange(100) < share, -1.0, 1.0))) is signs


# -- the sound part --------------------------------------------------------------------------------------------------


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


# -- gradients and updates -------------------------------------------------------------------------------------------


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


# -- the order of layers ---------------------------------------------------------------------------------------------


def test_layers_are_in_the_order_of_execution():
    history = healthy_run(modules={"order": {"first": 4, "output": 0}})
    assert [m for m, _ in layers(history)] == ["output", "second", "first"]


def test_layers_are_unknown_when_no_module_was_seen():
    assert layers(History()) == []


@pytest.mark.parametrize("changes", [{}, {"call": None}])
def test_the_output_layer_is_the_one_that_enters_the_loss_or_runs_last(changes):
    assert output_layers(healthy_run(**changes)) == {"output"}


# -- what is usual ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("swollen", "progress"), [(1000.0, False), (1.0, None)])
def test_a_loss_that_falls_from_where_the_first_steps_threw_it_is_no_progress(swollen, progress):
    """Born at 1, thrown to 1e6, and on its way down since; the weights tell whether that was harm."""
    loss = np.concatenate([[1.0], np.geomspace(1e6, 1e3, 99)])
    norms = np.linspace(1.0, swollen, 100)
    history = blind(loss)
    table = history["parameter"]
    for step in range(100):
        table.record(step, {"parameter_norm": dict.fromkeys(WEIGHTS, norms[step])})
    assert learns(history) is progress
