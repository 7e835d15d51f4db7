"""GS111 poor-initialization."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.poor_initialization import poor_initialization

from tests.specimens import LAYERS, found, healthy_run, signs, stuck

CONSTANT = "deviation of the initial weights"
GAIN = "signal gain per layer at initialization"
WHOLE = "signal gain of the whole model at initialization"
TINY = "initial weight deviation x sqrt(fan-in)"
DEPTH = "gradient RMS at the first layer / at the last"


def sick(*, parameters=None, modules=None, **changes) -> History:
    """All weights of the second layer start equal; nothing is learnt."""
    if parameters is None and modules is None:
        parameters = {"parameter_deviation": {"second.weight": 0.0}}
    changes = {"loss": stuck(100)} | changes
    return healthy_run(parameters=parameters or {}, modules=modules or {}, **changes)


def constant(share: float) -> History:
    """Weights of the second layer of about 1 that deviate by `share` of that."""
    return sick(parameters={"parameter_norm": {"second.weight": 32.0}, "parameter_deviation": {"second.weight": share}})


def gaining(gain: float) -> History:
    """Every layer multiplies the signal by `gain`, the first one by a little more of it."""
    deviation = {f"{m}.weight": max(gain, 0.58) / np.sqrt(s[1]) for m, s in LAYERS.items()}
    square = dict.fromkeys(LAYERS, gain**2) | {"first": (gain * (1.001 if gain > 1 else 0.999)) ** 2}
    return sick(modules={"output_mean_square": square}, parameters={"parameter_deviation": deviation})


def whole(gain: float) -> History:
    """The model multiplies the signal by `gain`, no layer of its own does."""
    return sick(modules={"output_mean_square": {"": gain**2}})


def small(deviation: float, layers=("first", "second")) -> History:
    """Weights of some layers have so small a deviation, for their fan-in."""
    return sick(parameters={"parameter_deviation": {f"{m}.weight": deviation / np.sqrt(LAYERS[m][1]) for m in layers}})


def cold(ratio: float) -> History:
    """One pass through a fresh network whose first layer gets `ratio` of the last one's gradient."""
    rows = [{"module": m, "forward_gain": 1.0, "gradient": g} for m, g in zip(LAYERS, (ratio, 1, 1), strict=True)]
    return sick(parameters={}, modules={}, loss=None, call=None, cold=True, layers=rows, run={"loss": None})


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (sick(), {(CONSTANT, "second.weight", "harm")}),
        (gaining(1e-3), {(GAIN, "first", "harm")}),
        (gaining(50.0), {(GAIN, "first", "harm")}),
        (whole(1e4), {(WHOLE, "", "harm")}),
        (small(1e-3), {(TINY, "first.weight", "harm"), (TINY, "second.weight", "harm")}),
        (cold(1e-8), {(DEPTH, "first", "harm")}),
        (cold(1e8), {(DEPTH, "first", "harm")}),
    ],
)
def test_each_way_to_start_badly_is_named(history, expected):
    assert signs(poor_initialization, history) == expected


@pytest.mark.parametrize("history", [healthy_run(), healthy_run(loss=stuck(100)), cold(1.0)])
def test_a_sound_start_shows_nothing(history):
    assert not found(poor_initialization, history)


def test_a_constant_layer_of_a_run_that_learns_is_a_cause():
    history = healthy_run(parameters={"parameter_deviation": {"second.weight": 0.0}})
    assert {role for _, _, role in signs(poor_initialization, history)} == {"cause"}


def test_a_layer_of_zeros_of_a_run_that_learns_shows_nothing():
    zeros = {"parameter_deviation": {"second.weight": 0.0}, "parameter_norm": {"second.weight": 0.0}}
    assert not found(poor_initialization, healthy_run(parameters=zeros))


def test_a_constant_output_layer_shows_nothing():
    assert not found(poor_initialization, sick(parameters={"parameter_deviation": {"output.weight": 0.0}}))


def test_in_a_cold_check_constant_weights_are_a_cause_alone():
    history = cold(1.0)
    history["parameter"].column("parameter_deviation")[0, history["parameter"].index("second.weight")] = 0
    assert signs(poor_initialization, history) == {(CONSTANT, "second.weight", "cause")}


@pytest.mark.parametrize(
    ("history", "flagged"),
    [
        pytest.param(constant(0.9e-7), True, id="constant, below"),
        pytest.param(constant(1.1e-7), False, id="constant, above"),
        pytest.param(gaining(0.0199), True, id="low, below"),
        pytest.param(gaining(0.0201), False, id="low, above"),
        pytest.param(gaining(5.01), True, id="high, above"),
        pytest.param(gaining(4.99), False, id="high, below"),
        pytest.param(whole(101.0), True, id="blown, above"),
        pytest.param(whole(99.0), False, id="blown, below"),
        pytest.param(small(0.0499), True, id="tiny, below"),
        pytest.param(small(0.0501), False, id="tiny, above"),
        pytest.param(small(0.01, ("first", "second")), True, id="depth, two layers"),
        pytest.param(small(0.01, ("first",)), False, id="depth, one layer"),
        pytest.param(cold(0.99e-5), True, id="fade, below"),
        pytest.param(cold(1.01e-5), False, id="fade, above"),
        pytest.param(cold(1.01e4), True, id="surge, above"),
        pytest.param(cold(0.99e4), False, id="surge, below"),
    ],
)
def test_the_edges_of_the_thresholds(history, flagged):
    shown = {e.quantity for e in found(poor_initialization, history)}
    assert bool(shown) is flagged


def test_a_gain_that_comes_from_the_bias_shows_nothing():
    assert not found(poor_initialization, sick(modules={"output_mean_square": dict.fromkeys(LAYERS, 2500.0)}))


def test_without_parameters_it_is_not_judged():
    empty = History(objective="SGD")
    empty.facts["cold"] = True
    with pytest.raises(NotJudged, match="no parameter was measured at the first step"):
        found(poor_initialization, empty)


SIGNAL = ("signal RMS that enters the last layer", "first", "harm")
GRADIENT = ("gradient RMS at the first layer", "first", "harm")


def silent(**modules) -> History:
    """A cold check whose gradient is zero, with some numbers of its modules."""
    rows = [{"module": m, "forward_gain": 1.0, "gradient": g} for m, g in zip(LAYERS, (0.0, 0.0, 1.0), strict=True)]
    return healthy_run(1, loss=None, call=None, cold=True, layers=rows, run={"loss": None}, modules=modules)


def test_in_a_cold_check_a_signal_of_zero_is_harm():
    history = silent(output_mean_square=0.0, input_mean_square={"second": 0.0, "output": 0.0})
    assert SIGNAL in signs(poor_initialization, history)


def test_in_a_cold_check_a_gradient_of_zero_is_harm():
    assert GRADIENT in signs(poor_initialization, silent())


def test_in_a_cold_check_a_last_layer_born_zero_is_no_harm():
    history = silent()
    history["parameter"].series("parameter_norm", "output.weight")[:] = 0
    assert not {SIGNAL, GRADIENT} & signs(poor_initialization, history)
