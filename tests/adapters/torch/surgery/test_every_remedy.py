"""Every remedy on a workload that it fits: changes nothing that was given, trains, repeats itself by the seed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gradscope.recipe import Recipe
from gradscope.workload import Workload
from torch import nn
from torch.nn import functional as F

from gradscope_torch.surgery import REMEDIES, treat
from tests.adapters.torch.surgery.workloads import (
    Hidden,
    Images,
    as_columns,
    classes,
    half,
    images,
    lacking,
    model_of,
    perceptron,
    plain,
    poisoned,
    regression,
    run,
    same,
    sgd,
    state,
    workload,
)


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
    Case("replace-activation", lambda: workload(perceptron(16, activation=nn.Sigmoid)), (("activation", "relu"),)),
    Case("residual-connection", workload),
    Case("dropout", workload, (("probability", 0.1),)),
    Case(
        "correct-output",
        lambda: workload(perceptron(16, output=nn.Softmax), as_columns(classes()), F.binary_cross_entropy),
        (("output", "sigmoid"),),
    ),
    Case("open-output", lambda: workload(perceptron(16, output=nn.Sigmoid)), (("output", "linear"),)),
    Case("standardize-input", lambda: workload(batches=[(50 + 9 * x, y) for x, y in regression()])),
    Case("input-noise", workload, (("deviation", 0.1),)),
    Case("random-crops", lambda: workload(Images(), images()), (("padding", 1),)),
    Case("register-parameter", lambda: workload(Hidden())),
    Case("connect-parameter", lambda: workload(optimizer=lacking)),
    Case(
        "full-precision-weights",
        lambda: workload(perceptron(16).bfloat16(), half(regression())),
        (("precision", "float32"),),
    ),
    Case(
        "full-precision-loss",
        lambda: workload(perceptron(16).bfloat16(), half(regression())),
        (("precision", "float32"),),
    ),
    Case("replace-optimizer", workload, (("optimizer", "Adam"), ("rate", 1e-3))),
    Case(
        "scale-target",
        lambda: workload(batches=[(x, 1000 + 200 * y) for x, y in regression()]),
        (("mean", 1000.0), ("deviation", 200.0)),
    ),
    Case("match-shapes", lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
    Case("loss-scaling", workload, (("scale", 1024.0),)),
    Case("reduce-on-plateau", workload, (("factor", 0.5), ("patience", 3))),
    Case("weaken-penalty", lambda: workload(optimizer=sgd(weight_decay=1.0)), (("factor", 0.01),)),
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
def test_what_was_given_stays_as_it_was_bit_for_bit(case):
    given = case.make()
    kept, modules, training = state(given.model), str(given.model), given.model.training
    batches = [(x.clone(), y.clone()) for x, y in given.batches]
    run(treat(given, case.remedy, dict(case.settings)), steps=5)
    assert same(state(given.model), kept)
    assert (str(given.model), given.model.training) == (modules, training)
    assert not any(p._backward_hooks for p in given.model.parameters())
    for (x, y), (x_kept, y_kept) in zip(given.batches, batches, strict=True):
        assert torch.equal(x.nan_to_num(7.0), x_kept.nan_to_num(7.0))
        assert torch.equal(y, y_kept)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_a_treated_workload_trains(case):
    loss, model = run(case.treated(), steps=20)
    assert np.isfinite(loss)
    before = model_of(case.treated())
    assert not all(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_the_random_streams_are_left_where_they_were(case):
    given = case.make()
    torch.manual_seed(5)
    kept = torch.get_rng_state()
    treat(given, case.remedy, dict(case.settings))
    assert torch.equal(torch.get_rng_state(), kept)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_the_same_seed_gives_the_same_model_and_training(case):
    assert run(case.treated(), steps=5)[0] == run(case.treated(), steps=5)[0]


def test_a_model_that_a_function_builds_is_built_anew_for_each_seed():
    def build():
        return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))

    given = treat(workload(build), "batch-normalization", {})
    assert not same(state(model_of(given, 0)), state(model_of(given, 1)))
    assert same(state(model_of(given, 1)), state(model_of(given, 1)))
