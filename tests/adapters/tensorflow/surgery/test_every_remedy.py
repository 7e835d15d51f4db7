"""Every remedy on a workload that it fits: changes nothing that was given, trains, repeats itself by the seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
from gradscope.recipe import Recipe
from gradscope.workload import Workload
from keras import layers

from gradscope_tensorflow.surgery import REMEDIES, treat
from tests.adapters.tensorflow.surgery.workloads import (
    PRECISE,
    classes,
    images,
    mixed,
    model_of,
    penalized,
    perceptron,
    picture,
    plain,
    poisoned,
    regression,
    run,
    workload,
)

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


@dataclass(frozen=True)
class Case:
    """A remedy, and a workload that it fits."""

    remedy: str
    make: Callable[[], Workload]
    settings: tuple[tuple[str, Any], ...] = ()

    def treated(self) -> Workload:
        """The workload with the remedy."""
        return treat(self.make(), self.remedy, dict(self.settings))


CASES = [
    Case("batch-normalization", workload),
    Case("layer-normalization", workload),
    Case("rms-normalization", workload),
    Case("he-initialization", workload),
    Case("glorot-initialization", workload),
    Case("orthogonal-initialization", workload, (("gain", 1.0),)),
    Case("lsuv-initialization", workload),
    Case("replace-activation", lambda: workload(perceptron(16, activation="sigmoid")), (("activation", "relu"),)),
    Case("residual-connection", workload),
    Case("dropout", workload, (("probability", 0.1),)),
    Case(
        "correct-output",
        lambda: workload(perceptron(16, output="softmax"), classes(), "binary_crossentropy"),
        (("output", "sigmoid"),),
    ),
    Case("open-output", lambda: workload(perceptron(16, output="sigmoid")), (("output", "linear"),)),
    Case("standardize-input", lambda: workload(batches=[(50 + 9 * x, y) for x, y in regression()])),
    Case("input-noise", workload, (("deviation", 0.1),)),
    Case("random-crops", lambda: workload(picture(), images()), (("padding", 1),)),
    Case("full-precision-weights", lambda: workload(mixed(), loss=plain), PRECISE),
    Case("full-precision-loss", lambda: workload(mixed(), loss=plain), PRECISE),
    Case("replace-optimizer", workload, (("optimizer", "Adam"), ("rate", 1e-3))),
    Case(
        "scale-target",
        lambda: workload(batches=[(x, 1000 + 200 * y) for x, y in regression()]),
        (("mean", 1000.0), ("deviation", 200.0)),
    ),
    Case("match-shapes", lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
    Case("reduce-on-plateau", workload, (("factor", 0.5), ("patience", 3))),
    Case("weaken-penalty", lambda: workload(penalized()), (("factor", 1e-5),)),
    Case("stop-before-poison", workload),
    Case("shuffle-data", workload),
    Case("check-data", lambda: workload(batches=poisoned())),
    Case("clip-gradient-norm", workload, (("max_norm", 0.5),)),
    Case("clip-gradient-value", workload, (("max_value", 0.5),)),
    Case("adaptive-clipping", workload, (("limit", 0.01),)),
    Case("loosen-clipping", lambda: workload(recipe=Recipe(clip_norm=1e-6)), (("max_norm", 1.0),)),
    Case("weight-decay", workload, (("decay", 0.01),)),
    Case("l2-penalty", workload, (("l2", 2e-4),)),
    Case("l1-penalty", workload, (("l1", 1e-5),)),
    Case("lower-learning-rate", workload, (("factor", 0.1),)),
    Case("raise-learning-rate", workload, (("factor", 2.0),)),
    Case("warm-up", workload, (("steps", 10),)),
    Case("cosine-schedule", workload, (("steps", 60),)),
    Case("larger-batch", workload, (("accumulate", 2), ("batch_size", 64))),
    Case("accumulate-gradients", workload, (("accumulate", 2),)),
    Case("growing-batch", workload, (("accumulate", 4), ("every", 10))),
    Case("full-batch", workload),
]


def test_every_remedy_that_is_known_has_a_case():
    assert {c.remedy for c in CASES} == set(REMEDIES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_a_treated_workload_trains_and_what_was_given_stays_bit_for_bit(case):
    given = case.make()
    kept, config = given.model.get_weights(), given.model.get_config()
    batches = [(x.copy(), y.copy()) for x, y in given.batches]
    treated = treat(given, case.remedy, dict(case.settings))
    before = model_of(treated).get_weights()
    loss, model = run(treated, steps=5)
    assert np.isfinite(loss)
    assert not all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(given.model.get_weights(), kept, strict=True))
    assert given.model.get_config() == config
    for pair, other in zip(given.batches, batches, strict=True):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(pair, other, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_the_random_streams_are_left_where_they_were(case):
    given = case.make()
    keras.utils.set_random_seed(5)
    kept, numbers = random.getstate(), np.random.get_state()[1].tolist()
    treat(given, case.remedy, dict(case.settings))
    assert random.getstate() == kept
    assert np.random.get_state()[1].tolist() == numbers


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.remedy in {"he-initialization", "dropout", "shuffle-data"}], ids=lambda c: c.remedy
)
def test_the_same_seed_gives_the_same_training(case):
    assert run(case.treated(), steps=3)[0] == run(case.treated(), steps=3)[0]


def test_a_model_that_a_function_builds_is_built_anew_for_each_seed():
    def build():
        return keras.Sequential([keras.Input((8,)), layers.Dense(4, "relu"), layers.Dense(1)])

    given = treat(workload(build), "batch-normalization", {})
    first, other, again = (model_of(given, seed).get_weights()[0] for seed in (0, 1, 1))
    assert not np.array_equal(first, other)
    assert np.array_equal(other, again)
