"""Sick workloads that a remedy is known to cure."""

import numpy as np
import pytest
import torch
from gradscope.recipe import Recipe
from gradscope.workload import Workload
from torch import nn
from torch.nn import functional as F

from gradscope_torch.surgery import treat
from tests.adapters.torch.surgery.workloads import (
    Hidden,
    as_columns,
    classes,
    perceptron,
    plain,
    poisoned,
    regression,
    run,
    sgd,
    workload,
)


def deep_sigmoid() -> Workload:
    """Eight sigmoid layers: nothing is learnt."""
    return workload(lambda: perceptron(*[16] * 8, activation=nn.Sigmoid), optimizer=None)


def too_large_kernels() -> Workload:
    """Five layers whose weights are eight times too large."""

    def build() -> nn.Module:
        made = perceptron(32, 32, 32, 32)
        with torch.no_grad():
            for p in made.parameters():
                p.mul_(8)
        return made

    return workload(build, optimizer=sgd(1e-3))


CURES = [
    ("batch-normalization", {}, deep_sigmoid),
    ("layer-normalization", {}, deep_sigmoid),
    ("he-initialization", {}, too_large_kernels),
    ("lsuv-initialization", {}, too_large_kernels),
    ("lower-learning-rate", {"factor": 0.01}, lambda: workload(optimizer=sgd(5.0))),
    ("raise-learning-rate", {"factor": 1e4}, lambda: workload(optimizer=sgd(1e-5))),
    ("standardize-input", {}, lambda: workload(batches=[(500 + 90 * x, y) for x, y in regression()])),
    (
        "scale-target",
        {"mean": 1e4, "deviation": 2e3},
        lambda: workload(batches=[(x, 1e4 + 2e3 * y) for x, y in regression()]),
    ),
    ("weaken-penalty", {"factor": 1e-4}, lambda: workload(optimizer=sgd(weight_decay=5.0))),
    ("loosen-clipping", {"max_norm": 1.0}, lambda: workload(recipe=Recipe(clip_norm=1e-5))),
    ("clip-gradient-norm", {"max_norm": 0.1}, lambda: workload(too_large_kernels().model, optimizer=sgd(0.01))),
    ("clip-gradient-value", {"max_value": 0.01}, lambda: workload(too_large_kernels().model, optimizer=sgd(0.01))),
    ("adaptive-clipping", {"limit": 0.01}, lambda: workload(too_large_kernels().model, optimizer=sgd(0.01))),
    ("check-data", {}, lambda: workload(batches=poisoned())),
    ("register-parameter", {}, lambda: workload(Hidden())),
    (
        "correct-output",
        {"output": "sigmoid"},
        lambda: workload(perceptron(16, output=nn.Softmax), as_columns(classes()), F.binary_cross_entropy),
    ),
    ("open-output", {"output": "linear"}, lambda: workload(perceptron(16, output=nn.Sigmoid))),
    ("match-shapes", {}, lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
    ("replace-optimizer", {"optimizer": "Adam", "rate": 0.01}, lambda: workload(optimizer=sgd(1e-4))),
]


@pytest.mark.parametrize(("remedy", "settings", "make"), CURES, ids=[c[0] for c in CURES])
def test_a_known_cure_cures(remedy, settings, make):
    sick, cured = (np.mean([run(w, 150, s)[0] for s in range(2)]) for w in (make(), treat(make(), remedy, settings)))
    assert np.isfinite(cured)
    assert not sick <= 1.5 * cured, (sick, cured)


def test_sorted_classes_are_learnt_once_they_are_shuffled():
    x = torch.cat([x for x, _ in classes()])
    y = torch.cat([y for _, y in classes()])
    order = y.argsort()
    batches = [(x[k], y[k]) for k in order.split(32)]
    given = workload(perceptron(16, units=2), batches, F.cross_entropy, optimizer=sgd(0.5))
    assert run(given, 150)[0] > 1.5 * run(treat(given, "shuffle-data", {}), 150)[0]
