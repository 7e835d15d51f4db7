"""How good predictions are beside a constant, and whether a training makes progress."""

import math

import numpy as np
import pytest
from gradscope.fit import changes_sign, fit_of, learns, main_site
from gradscope.history import History, Subject

from tests.specimens import CALL, WEIGHTS, healthy_run, learning, noise, stuck


def blind(loss) -> History:
    """A run of which the loss alone is known."""
    return healthy_run(len(loss), loss=np.asarray(loss), call=None)


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
