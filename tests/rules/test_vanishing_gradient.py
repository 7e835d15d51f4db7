"""GS101 vanishing-gradient."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.vanishing_gradient import vanishing_gradient

from tests.specimens import LAYERS, found, healthy_run, learning, signs, stuck

QUANTITY = "gradient RMS / that of the layer with most"


def sick(*, first: float = 1e-5, second: float = 0.1, output: float = 1.0, loss=None, **changes) -> History:
    """Layers whose gradient has the given root mean squares; nothing is learnt."""
    rms = {"first": first, "second": second, "output": output}
    norms = {f"{m}.weight": rms[m] * np.sqrt(np.prod(s)) for m, s in LAYERS.items()}
    return healthy_run(loss=stuck(100) if loss is None else loss, gradients=norms, **changes)


def test_a_first_layer_that_gets_next_to_nothing_is_harm():
    assert signs(vanishing_gradient, sick()) == {(QUANTITY, "first.weight", "harm")}


def test_every_layer_that_starves_is_named():
    assert signs(vanishing_gradient, sick(second=1e-4)) == {
        (QUANTITY, "first.weight", "harm"),
        (QUANTITY, "second.weight", "harm"),
    }


@pytest.mark.parametrize(("first", "flagged"), [(0.99e-3, True), (1.01e-3, False)])
def test_decay_is_what_may_be_left_in_the_first_layer(first, flagged):
    assert bool(found(vanishing_gradient, sick(first=first))) is flagged


def test_depth_is_the_fewest_layers_that_are_judged():
    with pytest.raises(NotJudged, match="too few layers with weights: 3, and at least 4 make a depth"):
        found(vanishing_gradient, sick(), depth=4)


@pytest.mark.parametrize(("second", "flagged"), [(0.1, True), (10.0, False)])
def test_the_largest_gradient_lies_depth_layers_deep(second, flagged):
    assert bool(found(vanishing_gradient, sick(second=second))) is flagged


def broken_at(step: int) -> History:
    """The sick one, whose loss is no number from a step on."""
    return sick(loss=np.where(np.arange(100) >= step, np.nan, stuck(100)))


def test_a_run_that_breaks_before_it_could_learn_is_not_judged():
    with pytest.raises(NotJudged, match="fewer than 20 steps before the first value that is not finite"):
        found(vanishing_gradient, broken_at(19))
    assert found(vanishing_gradient, broken_at(20))
    assert found(vanishing_gradient, broken_at(19), fewest=19)


def test_a_run_that_learns_shows_nothing():
    assert not found(vanishing_gradient, sick(loss=learning(100)))


def test_a_gradient_of_exactly_zero_is_left_to_zero_gradient():
    assert not found(vanishing_gradient, sick(first=0.0))


def test_without_the_order_of_execution_it_is_not_judged():
    with pytest.raises(NotJudged, match="the order of layers is unknown"):
        found(vanishing_gradient, sick(modules={"order": np.nan}))


def test_depth_is_the_order_of_execution_and_not_of_names():
    history = sick(first=1.0, output=1e-5, modules={"order": {"first": 4, "output": 0}})
    assert signs(vanishing_gradient, history) == {(QUANTITY, "output.weight", "harm")}


def test_a_healthy_run_shows_nothing():
    assert not found(vanishing_gradient, healthy_run())


def test_an_unknown_order_of_layers_is_told():
    with pytest.raises(NotJudged, match=r"^the order of layers is unknown$"):
        found(vanishing_gradient, sick(modules={"order": np.nan}))


def test_the_step_is_that_from_which_on_the_gradient_is_gone():
    (e,) = found(vanishing_gradient, sick(first=np.where(np.arange(100) < 30, 1.0, 1e-5)))
    assert e.step == 30
