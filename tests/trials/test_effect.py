"""Paired effects over seeds."""

import math

import pytest
from gradscope.trials.effect import Effect, comparable_by_ratio
from gradscope.trials.printed import Measure

ACCURACY, LOSS = Measure("accuracy", higher=True), Measure("loss", higher=False)


def effect(control, treated, measure=ACCURACY):
    ratio = comparable_by_ratio(measure, control, treated)
    return Effect(measure, dict(enumerate(control)), dict(enumerate(treated)), ratio)


def test_the_interval_is_students():
    """Of 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, 4.303 x 0.1 / sqrt(3)."""
    low, high = effect([0, 0, 0], [0.1, 0.2, 0.3]).interval()
    assert (low, high) == pytest.approx((0.2 - 0.24843, 0.2 + 0.24843), abs=1e-4)


def test_one_seed_has_no_interval():
    assert effect([0.1], [0.9]).interval() is None


def test_better_is_better_with_every_seed():
    assert effect([0.1, 0.1, 0.1], [0.9, 0.8, 0.7]).better
    assert not effect([0.1, 0.1, 0.1], [0.9, 0.8, 0.1]).better
    assert effect([1.0, 1.0], [0.5, 0.6], LOSS).better


def test_errors_are_compared_by_their_ratio():
    one = effect([1e30, 1e20], [0.5, 0.4], LOSS)
    assert one.better
    assert one.ratio
    assert effect([1.0, 1.0], [0.5, 0.5], LOSS).gain == pytest.approx(math.log(2))
    assert not effect([1.0, 1.0], [-0.5, 0.5], LOSS).ratio


def test_what_seeds_alone_make_is_no_effect():
    assert not effect([0.5, 0.7, 0.9], [0.55, 0.75, 0.95]).better
    assert effect([0.5, 0.51, 0.5], [0.55, 0.56, 0.55]).better


def test_a_trifle_is_no_effect():
    assert not effect([0.900, 0.900], [0.905, 0.905]).better


def test_worse_is_worse_with_every_seed():
    assert effect([0.9, 0.9], [0.1, 0.2]).worse
    assert not effect([0.9, 0.9], [0.1, 0.9]).worse


def test_a_number_is_better_than_none():
    one = effect([math.nan, math.nan], [0.3, 0.4], LOSS)
    assert one.better
    assert one.gain == math.inf
    assert one.interval() is None
    assert effect([0.3], [math.nan], LOSS).worse


def test_seeds_that_only_one_has_are_left_out():
    assert Effect(ACCURACY, {0: 0.1, 1: 0.2}, {1: 0.5}).seeds == (1,)


def test_an_effect_is_plain_data():
    data = effect([math.nan], [0.3]).as_dict()
    assert (data["control"], data["treated"], data["gain"]) == (["nan"], [0.3], "inf")


def test_equal_gains_have_no_interval():
    assert effect([0.0, 0.0], [0.5, 0.5]).interval() is None


def test_chance_is_that_of_all_runs_of_the_control():
    """A treated program that ran once is held to what seeds do to the control."""
    one = Effect(LOSS, {0: 1.0, 1: 0.5, 2: 2.0}, {0: 0.85}, ratio=True)
    assert not one.better
