"""Remedies as they are called: one after another, with an apply of their own, refused with the reason."""

from dataclasses import replace

import pytest
from gradscope.errors import CannotApply
from gradscope.recipe import Recipe
from gradscope.treatment import treated
from gradscope.verdict import Remedy
from torch import nn

from gradscope_torch.surgery import treat
from tests.adapters.torch.surgery.workloads import (
    ADAPTER,
    Functional,
    kinds,
    model_of,
    perceptron,
    regression,
    run,
    workload,
)


def test_remedies_follow_one_another():
    given = workload(batches=[(50 + 9 * x, 1000 + 200 * y) for x, y in regression()])
    made = treat(given, "standardize-input", {})
    made = treat(made, "scale-target", {"mean": 1000.0, "deviation": 200.0})
    made = treat(made, "batch-normalization", {})
    made = treat(made, "dropout", {"probability": 0.1})
    found = kinds(model_of(made))
    expected = ["Standardize", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear", "Rescale"]
    assert found == expected
    assert run(made, 100)[0] < 0.3 * 200**2


@pytest.mark.parametrize(
    ("remedy", "given", "settings", "text"),
    [
        ("replace-activation", workload(Functional()), {"activation": "gelu"}, "forward() calls the activations as"),
        ("replace-activation", workload(), {"activation": "relu"}, "no hidden activation is other than relu"),
        ("replace-activation", workload(), {"activation": "cube"}, "no activation is called 'cube'; there are elu,"),
        ("correct-output", workload(Functional(closing=True)), {"output": "linear"}, "ends in a call of sigmoid: it"),
        ("open-output", workload(), {"output": "linear"}, "the model ends in no activation that could be dropped"),
        ("residual-connection", workload(perceptron(16, 8)), {}, "no layer keeps the width"),
        ("residual-connection", workload(Functional()), {}, "followed by its activation in one Sequential"),
        ("random-crops", workload(), {"padding": 4}, "inputs of shape (32, 8) are no images [N, C, H, W]"),
        ("loosen-clipping", workload(), {"max_norm": 1.0}, "the recipe of this workload clips no norm"),
        ("clip-gradient-norm", workload(), {}, "needs max_norm as a number above 0, got None"),
        ("add-zero-grad", workload(), {}, "the trainer of a workload clears the gradients before every step"),
        ("leech", workload(), {}, "not known to the trainer of torch; it knows accumulate-gradients, "),
        ("dropout", workload(Functional()), {"probability": 0.1}, "no hidden activation is a module of its own"),
        ("he-initialization", workload(nn.Bilinear(8, 8, 1)), {}, "the model has no Linear and no Conv"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(remedy, given, settings, text):
    with pytest.raises(CannotApply) as caught:
        treat(given, remedy, settings)
    assert str(caught.value).startswith(f"{remedy}: ")
    assert text in str(caught.value)


def test_a_remedy_with_an_apply_of_its_own_needs_no_adapter():
    own = Remedy("tea", "Tea", "it is four", apply=lambda w: replace(w, recipe=Recipe(l1=0.4)))
    assert treated(workload(), own, ADAPTER).recipe.l1 == 0.4
    known = Remedy("clip-gradient-norm", "Clip", "it is long", settings={"max_norm": 2.0})
    assert treated(workload(), known, ADAPTER).recipe.clip_norm == 2
