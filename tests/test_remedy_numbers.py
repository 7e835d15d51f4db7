"""The numbers of a remedy are drawn from the run: rates, limits, batches, steps."""

import importlib
import re

import numpy as np
import pytest
from gradscope.builtin import remedy_sources
from gradscope.scope import Scope

from tests.advice import half_precision, large_updates, names_of, swollen, told, verdict_of
from tests.specimens import PARAMETERS, WEIGHTS, healthy_run, judged, stuck


def test_the_learning_rate_is_lowered_to_what_moves_weights_by_a_hundredth():
    large = {"update_norm": dict.fromkeys(WEIGHTS, 2.0), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=large)
    assert told(history, "oversized-update", "lower-learning-rate").title == (
        "lower the learning rate from 0.1 to about 0.0005"
    )


def test_the_learning_rate_is_raised_to_what_moves_weights_by_a_thousandth():
    small = {"update_norm": dict.fromkeys(WEIGHTS, 1e-6), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=small, run={"learning_rate": 1e-5})
    assert told(history, "undersized-update", "raise-learning-rate").code["torch"] == (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)"
    )


def test_the_clipping_limit_is_twice_the_usual_gradient():
    norms = dict.fromkeys(PARAMETERS, 0.0) | {WEIGHTS[0]: np.where(np.arange(100) == 50, 1e5, 5.0)}
    history = healthy_run(loss=stuck(100), gradients=norms)
    assert told(history, "gradient-spike", "clip-gradient-norm").title == "clip the gradient at a global norm of 10"


def test_a_remedy_whose_numbers_are_unknown_is_not_told():
    large = {"update_norm": dict.fromkeys(WEIGHTS, 2.0), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=large, run={"learning_rate": None})
    assert told(history, "oversized-update", "lower-learning-rate") is None


def least_squares(vectors: int) -> Scope:
    """Gradient descent on a line, by numpy alone, with a step beyond 2 / curvature."""
    scope, w = Scope(), np.ones((vectors, 3))
    for step in range(40):
        gradient = 2 * w
        w = w - 1.3 * gradient
        names = [f"w{i}" for i in range(vectors)]
        scope.observe(
            step=step,
            gradients=dict(zip(names, gradient, strict=True)),
            parameters=dict(zip(names, w, strict=True)),
            loss=float((gradient**2).sum() / 4),
            learning_rate=1.3,
        )
    return scope


@pytest.mark.parametrize("vectors", [1, 2])
def test_a_few_vectors_get_no_advice_for_networks(vectors):
    titles = [r.title for v in least_squares(vectors).report().verdicts for r in v.remedies]
    assert titles[0] == "lower the step size from 1.3 to about 0.5"
    assert not [t for t in titles if re.search("initial|normal|residual|activation|clip", t)]


def test_no_clipping_limit_is_drawn_from_a_run_that_diverges_from_the_start():
    norms = dict.fromkeys(PARAMETERS, 3.0 ** np.arange(100))
    history = healthy_run(loss=9.0 ** np.arange(100), gradients=norms)
    assert all(r.name != "clip-gradient-norm" for v in judged(history).verdicts for r in v.remedies)


def test_a_warm_up_is_for_updates_that_are_largest_at_the_beginning():
    assert told(large_updates(2.0, 0.6), "oversized-update", "warm-up").settings == {"steps": 10}
    assert told(large_updates(2.0, 2.0), "oversized-update", "warm-up") is None


@pytest.mark.parametrize(("optimizer", "name"), [("SGD", "l2-penalty"), ("Adam", "weight-decay")])
def test_weights_that_have_grown_get_the_decay_of_their_optimizer(optimizer, name):
    history, steady = swollen(), large_updates(2.0, 2.0)
    history.facts["optimizer"] = steady.facts["optimizer"] = optimizer
    assert "4 times their norm" in told(history, "oversized-update", name).reason
    assert {"l2-penalty", "weight-decay"} & set(names_of(history, "oversized-update")) == {name}
    assert not {"l2-penalty", "weight-decay"} & set(names_of(steady, "oversized-update"))


def test_a_loss_is_scaled_where_gradients_of_half_precision_underflow():
    assert "50% of the entries" in told(half_precision(0.5), "stalled-loss", "loss-scaling").reason
    assert told(half_precision(0.01), "stalled-loss", "loss-scaling") is None
    assert told(half_precision(0.5, loss_scale=1024.0), "stalled-loss", "loss-scaling") is None


def test_gradients_of_full_precision_need_no_scale():
    history = healthy_run(loss=stuck(100), parameters={"gradient_underflow_fraction": 0.5})
    assert told(history, "stalled-loss", "loss-scaling") is None


def test_batches_grow_to_the_measured_noise_scale():
    history = importlib.import_module("tests.rules.test_noisy_gradient").sick()
    size, scale = history.run("batch_size")[0], verdict_of("noisy-gradient").evidence[0].value
    count = told(history, "noisy-gradient", "accumulate-gradients").settings["accumulate"]
    assert min(scale, 64) / 1.5 <= count <= min(scale, 64) * 1.5
    assert told(history, "noisy-gradient", "larger-batch").settings["batch_size"] == size * count


def test_units_are_clipped_by_their_weights_only_where_gradients_exceed_these():
    growing = importlib.import_module("tests.rules.test_exploding_gradient").growing
    assert told(growing(1e4), "exploding-gradient", "adaptive-clipping").settings == {"limit": 0.01}
    small = growing(1e4)
    small["gradient"].column("gradient_norm")[:] *= 1e-9
    assert told(small, "exploding-gradient", "adaptive-clipping") is None


def test_entries_are_clipped_at_twice_the_usual_largest():
    norms = dict.fromkeys(PARAMETERS, 0.0) | {WEIGHTS[0]: np.where(np.arange(100) == 50, 1e5, 5.0)}
    history = healthy_run(loss=stuck(100), gradients=norms, parameters={"gradient_abs_max": 2.5})
    assert told(history, "gradient-spike", "clip-gradient-value").settings == {"max_value": 5.0}


def test_a_last_step_whose_update_is_unknown_leaves_the_warm_up_to_the_others():
    ratios = 0.001 * np.where(np.arange(100) < 5, 100.0, 1.0)
    ratios[-1] = np.nan
    history = healthy_run(parameters={"update_norm": ratios, "parameter_norm": 1.0})
    (source,) = [s for s in remedy_sources() if s.name == "warm-up"]
    assert source.suggest(verdict_of("oversized-update"), history) is not None
