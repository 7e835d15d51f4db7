"""Track of Keras on JAX: what callbacks bring, whenever and in whatever order they do."""

from __future__ import annotations

import math
import threading
from typing import Any

import gradscope
import numpy as np
import pytest

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")
pytest.importorskip("tensorflow")

from gradscope.scope import Scope  # noqa: E402

from gradscope_tensorflow import track_jax  # noqa: E402
from gradscope_tensorflow.names import Names  # noqa: E402
from gradscope_tensorflow.source import Sources  # noqa: E402


def track() -> Any:
    """One with two parameters, whose programs tell their losses."""
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(made.trainable_variables)
    names = Names(Sources())
    names.add_root(made)
    scope: Scope = gradscope.watch()
    found = track_jax.Track(scope, optimizer, names, "SGD 1", {})
    found.tells_loss = True
    return found


def call(one: Any, count: int | None, ends: bool = True) -> None:
    """A call of the optimizer arrives."""
    one._arrive(np.ones(2), 0.01, math.nan, False, ends, False, np.zeros((2, 8)), count)


def losses(one: Any) -> list[float]:
    """Those of the history."""
    found: list[float] = one.objective.history.run("loss").tolist()
    return found


@pytest.mark.parametrize("told", [False, True])
def test_a_step_whose_loss_is_on_its_way_waits(told: bool) -> None:
    one = track()
    for i in range(3):
        call(one, i if told else None)
    for i in (1, 0) if told else (0, 1):
        one.loss_arrived(float(i), i if told else None)
    one.drain()
    assert losses(one) == [0, 1]
    one.loss_arrived(2.0, 2 if told else None)
    one.drain()
    assert losses(one) == [0, 1, 2]
    assert one.objective.history.run("loss_nonfinite").tolist() == [0, 0, 0]


@pytest.mark.parametrize("told", [False, True])
def test_a_loss_that_never_comes_is_unknown_and_not_nan(told: bool) -> None:
    one = track()
    for i in range(3):
        call(one, i if told else None)
    one.loss_arrived(1.0, 0 if told else None)
    one.loss_arrived(math.nan, 2 if told else None)
    one.drain(whole=True)
    bad = one.objective.history.run("loss_nonfinite").tolist()
    assert bad == pytest.approx([0, math.nan, 1] if told else [math.nan] * 3, nan_ok=True)
    assert one.losses == {}


def test_the_loss_of_a_step_is_the_mean_of_its_calls() -> None:
    one = track()
    for i in range(4):
        one.loss_arrived(float(i), i)
        call(one, i, ends=i % 2 == 1)
    one.drain()
    assert losses(one) == [0.5, 2.5]


def test_what_another_thread_brings_meanwhile_is_not_torn() -> None:
    one, many = track(), 3000

    def feed() -> None:
        for i in range(many):
            one.loss_arrived(float(i), i)
            call(one, i)

    thread = threading.Thread(target=feed)
    thread.start()
    while thread.is_alive():
        one.drain()
    thread.join()
    one.drain(whole=True)
    assert one.objective.step == many
    history = one.objective.history
    assert history.run("loss_nonfinite").max() == 0
    assert history.run("loss").tolist() == history["step"].steps.tolist()


def test_callbacks_raise_nothing_and_write_no_history() -> None:
    one = track()
    one.loss_arrived("no number", 0)
    assert list(one.scope.failures) == ["numbers from JAX"]
    other = track()
    for i in range(track_jax.MOST_WAITING + 2):
        call(other, i)
    assert other.objective.history.steps == 0
    assert other.waiting == track_jax.MOST_WAITING
    other.drain(whole=True)
    assert other.objective.history["step"].steps[-1] == track_jax.MOST_WAITING + 1
    assert other.scope.limits["steps"] == track_jax.LOST
