"""Idle: when a unit counts as dead."""

import numpy as np
from gradscope.idle import ENOUGH_SAMPLES, Idle

HALF = ENOUGH_SAMPLES // 2


def test_nobody_knows_before_enough_samples_were_seen():
    idle = Idle()
    assert idle.dead("relu", np.array([True, False]), ENOUGH_SAMPLES - 1) is None
    assert idle.dead("relu", np.array([True, False]), 1).tolist() == [True, False]


def test_a_unit_that_wakes_up_is_counted_anew():
    idle = Idle()
    idle.dead("relu", np.array([True, True]), HALF)
    assert idle.dead("relu", np.array([True, False]), HALF).tolist() == [True, False]
    assert idle.dead("relu", np.array([True, True]), HALF).tolist() == [True, False]
    assert idle.dead("relu", np.array([True, True]), HALF).tolist() == [True, True]


def test_activations_are_counted_apart():
    idle = Idle()
    idle.dead("a", np.array([True]), HALF)
    assert idle.dead("b", np.array([True]), HALF) is None


def test_other_units_than_before_begin_anew():
    idle = Idle()
    idle.dead("relu", np.array([True, True]), ENOUGH_SAMPLES)
    assert idle.dead("relu", np.array([True, True, True]), HALF) is None
    assert idle.dead("relu", np.array([True, False, True]), HALF).tolist() == [True, False, True]
