"""GS102 exploding-gradient."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.exploding_gradient import exploding_gradient

from tests.specimens import LAYERS, PARAMETERS, WEIGHTS, found, healthy_run, signs, stuck

FIRST = ("gradient norm of the first step / median", "second.weight", "harm")
STEEP = ("gradient x weights / loss at the first step", "second.weight", "harm")
NO_BIAS = dict.fromkeys((p for p in PARAMETERS if p.endswith("bias")), 0)


def sick(*, times: float = 1e4, ratio: float = 0.5, weights: float = 100.0, loss=None, **changes) -> History:
    """The first gradient is `times` that of the rest, and moves the weights by `ratio` of themselves."""
    first = np.arange(100) == 0
    norms = np.where(first, times, 1.0)
    return healthy_run(
        loss=stuck(100) if loss is None else loss,
        gradients=NO_BIAS | {w: norms * (1.0 if w == "second.weight" else 1e-6) for w in WEIGHTS},
        parameters={
            "parameter_norm": {p: weights if p == "second.weight" else 1e-9 for p in PARAMETERS},
            "update_norm": dict.fromkeys(PARAMETERS, 0.0) | {"second.weight": np.where(first, ratio * weights, 1e-3)},
        },
        **changes,
    )


def growing(times: float) -> History:
    """The gradient of the last half is `times` that of the first."""
    norms = np.where(np.arange(100) < 50, 1.0, times)
    return healthy_run(loss=stuck(100), gradients=NO_BIAS | dict.fromkeys(WEIGHTS, norms))


def deep(times: float) -> History:
    """The gradient of the first layer is `times` that of the last, as a root mean square."""
    rms = {"first": times, "second": 1.0, "output": 1.0}
    norms = {f"{m}.weight": rms[m] * np.sqrt(np.prod(s)) for m, s in LAYERS.items()}
    return healthy_run(loss=stuck(100), gradients=NO_BIAS | norms)


def test_a_first_gradient_that_throws_the_weights_away_is_harm():
    assert signs(exploding_gradient, sick()) == {FIRST, STEEP}


def test_a_gradient_that_grows_over_time_is_harm():
    quantity = "gradient norm at the end / at the beginning"
    assert {q for q, _, _ in signs(exploding_gradient, growing(1e4))} == {quantity}


def test_a_gradient_that_grows_through_depth_is_harm():
    quantity = "gradient RMS of the first layer / of the last"
    assert signs(exploding_gradient, deep(1e4)) == {(quantity, "first.weight", "harm")}


def test_a_run_that_learns_shows_nothing():
    assert not found(exploding_gradient, healthy_run())


@pytest.mark.parametrize(("times", "flagged"), [(100.1, True), (99.9, False)])
def test_growth_is_the_least_first_gradient(times, flagged):
    assert bool(found(exploding_gradient, sick(times=times))) is flagged


@pytest.mark.parametrize(("ratio", "flagged"), [(0.101, True), (0.099, False)])
def test_update_is_the_least_step_that_shows_a_hit(ratio, flagged):
    assert bool(found(exploding_gradient, sick(ratio=ratio))) is flagged


@pytest.mark.parametrize(("weights", "flagged"), [(0.0051, True), (0.0049, False)])
def test_steep_is_the_least_change_of_the_loss_for_one_of_the_weights(weights, flagged):
    assert bool(found(exploding_gradient, sick(weights=weights, loss=np.ones(100)))) is flagged


@pytest.mark.parametrize(("times", "flagged"), [(100.1, True), (99.9, False)])
def test_growth_is_also_the_least_growth_over_time(times, flagged):
    assert bool(found(exploding_gradient, growing(times))) is flagged


@pytest.mark.parametrize(("times", "flagged"), [(1001, True), (999, False)])
def test_depth_is_the_least_first_layer_over_last(times, flagged):
    assert bool(found(exploding_gradient, deep(times))) is flagged


def test_a_hundredfold_error_at_the_first_step_shows_a_hit_as_well():
    error = np.where(np.arange(100) < 20, 1e4, 1.0)
    history = sick(ratio=0.01, call={"prediction_squared_error": error})
    assert signs(exploding_gradient, history) == {FIRST, STEEP}
