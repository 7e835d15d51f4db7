"""What is known of an optax transformation that nobody saw being made: kind, numbers, rates and limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

from gradscope_jax.made import Made  # noqa: E402
from gradscope_jax.making import made_of  # noqa: E402


def known(transformation: Any) -> Made:
    found = made_of(transformation)
    assert found is not None
    return found


DOWN = optax.linear_schedule(0.1, 0.0, 10)
CUSTOM = optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (g, s))
KINDS = {
    "sgd": (optax.sgd(0.1), "SGD", 0.1),
    "momentum": (optax.sgd(0.1, momentum=0.9), "SGD", 0.1),
    "adam": (optax.adam(1e-3), "Adam", 1e-3),
    "adamw": (optax.adamw(1e-3), "AdamW", 1e-3),
    "decay before adam": (optax.chain(optax.add_decayed_weights(0.1), optax.adam(1e-3)), "Adam", 1e-3),
    "rmsprop": (optax.rmsprop(1e-3), "RMSprop", 1e-3),
    "adagrad": (optax.adagrad(1e-3), "Adagrad", 1e-3),
    "lion": (optax.lion(1e-3), "Lion", 1e-3),
    "lamb": (optax.lamb(1e-3), "LAMB", 1e-3),
    "clipped": (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)), "Adam", 1e-3),
    "scaled before": (optax.chain(optax.scale(0.5), optax.adam(1e-3)), "Adam", 1e-3),
    "scaled after": (optax.chain(optax.adam(1e-3), optax.scale(0.5)), "Adam", 5e-4),
    "scaled sgd": (optax.chain(optax.scale(0.5), optax.sgd(0.1)), "SGD", 0.05),
    "by hand": (optax.chain(optax.scale_by_adam(), optax.scale(-2e-3)), "Adam", 2e-3),
    "a schedule and its sign": (optax.chain(optax.scale_by_schedule(lambda n: 0.1), optax.scale(-1.0)), "SGD", 0.1),
    "masked": (optax.masked(optax.sgd(0.1), True), "SGD", 0.1),
    "if finite": (optax.apply_if_finite(optax.adam(1e-3), 3), "Adam", 1e-3),
    "frozen part": (
        optax.multi_transform({"a": optax.set_to_zero(), "b": optax.adam(1e-3)}, lambda p: p),
        "Adam",
        1e-3,
    ),
    "an array": (optax.sgd(jnp.asarray(0.1)), "SGD", 0.1),
    "injected": (optax.inject_hyperparams(optax.adam)(1e-3), "Adam", math.nan),
    "of a stranger": (CUSTOM, "custom", math.nan),
    "with a stranger": (optax.chain(CUSTOM, optax.identity()), "optimizer", math.nan),
}


@pytest.mark.parametrize("name", KINDS)
def test_kind_and_rate_are_read(name: str) -> None:
    transformation, kind, rate = KINDS[name]
    made = known(transformation)
    assert made.kind == kind
    assert made.rates([0, 7]) == pytest.approx([rate, rate], nan_ok=True)


@pytest.mark.parametrize("schedule", [DOWN, lambda n: 0.1 - 0.01 * n if n < 10 else 0.0], ids=["optax", "Python"])
def test_a_schedule_is_asked_for_its_steps(schedule: Any) -> None:
    made = known(optax.adam(schedule))
    assert made.rates(range(4)) == pytest.approx([0.1, 0.09, 0.08, 0.07])
    assert made.rates([3]) == pytest.approx([0.07])


def test_limits_numbers_and_what_is_held_still_are_read() -> None:
    made = known(optax.chain(optax.clip_by_global_norm(2.5), optax.adamw(1e-3, b1=0.8, weight_decay=0.05)))
    assert (made.clip_limit(), made.freezes) == (2.5, False)
    assert (made.settings()["b1"], made.settings()["weight_decay"]) == (0.8, 0.05)
    assert known(optax.adam(1e-3)).clip_limit() is None
    assert known(optax.freeze(True)).freezes


@pytest.mark.parametrize("thing", [None, {}, 3, np.ones(3), [optax.sgd(0.1)]], ids=lambda thing: type(thing).__name__)
def test_what_is_no_transformation_is_nothing(thing: Any) -> None:
    assert made_of(thing) is None
