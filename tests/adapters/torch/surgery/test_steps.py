"""Remedies that change how a step is taken: optimizer, rate, penalties, the loss that is differentiated, the recipe."""

import copy

import pytest
import torch
from gradscope.errors import CannotApply
from gradscope.recipe import Recipe
from torch import nn
from torch.nn import functional as F

from gradscope_torch.surgery import treat
from tests.adapters.torch.surgery.workloads import lacking, model_of, poisoned, regression, run, sgd, workload


def test_parameters_that_the_optimizer_lacks_are_added_to_it():
    optimizer = treat(workload(optimizer=lacking), "register-parameter", {}).optimizer
    parameters = [nn.Parameter(torch.ones(1)) for _ in range(5)]
    assert sorted(len(g["params"]) for g in optimizer(iter(parameters)).param_groups) == [2, 3]


def test_where_no_parameter_is_missing_none_is_connected():
    with pytest.raises(CannotApply, match="every parameter is registered and held by the optimizer"):
        treat(workload(), "connect-parameter", {})


def test_eps_and_rate_of_the_optimizer_are_changed():
    made = treat(workload(optimizer=None), "full-precision-weights", {"eps": 1e-4, "factor": 0.1})
    assert [g["eps"] for g in made.optimizer([nn.Parameter(torch.ones(1))]).param_groups] == [1e-4]
    assert made.recipe.factor(3) == 0.1


def test_the_optimizer_is_replaced_by_name():
    made = treat(workload(), "replace-optimizer", {"optimizer": "AdamW", "rate": 0.01})
    optimizer = made.optimizer([nn.Parameter(torch.ones(1))])
    assert (type(optimizer).__name__, optimizer.param_groups[0]["lr"]) == ("AdamW", 0.01)
    with pytest.raises(CannotApply, match="the optimizer is Adam already"):
        treat(workload(optimizer=None), "replace-optimizer", {"optimizer": "Adam", "rate": 0.01})


def test_a_scaled_loss_keeps_value_and_gradients():
    given = workload()
    made = treat(given, "loss-scaling", {"scale": 1024.0})
    (x, y), model = given.batches[0], model_of(made)
    seen = []
    model[-1].register_full_backward_hook(lambda _m, _inputs, outputs: seen.append(float(outputs[0].norm())))
    loss = made.loss(model(x), y)
    loss.backward()
    other = copy.deepcopy(given.model)
    output = other(x)
    output.retain_grad()
    F.mse_loss(output, y).backward()
    assert loss.item() == F.mse_loss(output, y).item()
    assert seen == pytest.approx([1024 * float(output.grad.norm())])
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad)


def test_the_rate_falls_where_the_loss_stands_still():
    constant = [(x, torch.randn(32, 1)) for x, _ in regression(batches=1)]
    given = workload(batches=constant, optimizer=sgd(1e-9))
    made = treat(given, "reduce-on-plateau", {"factor": 0.5, "patience": 2})
    run(made, steps=61)
    assert made.recipe.factor(61) == 0.25
    run(made, steps=1)
    assert made.recipe.factor(1) == 1


def test_penalties_of_optimizer_and_recipe_are_weakened():
    given = workload(optimizer=sgd(weight_decay=1.0), recipe=Recipe(l1=0.5, decay=2.0))
    made = treat(given, "weaken-penalty", {"factor": 0.01})
    assert (made.recipe.l1, made.recipe.l2, made.recipe.decay) == (0.005, 0, 0.02)
    assert [g["weight_decay"] for g in made.optimizer([nn.Parameter(torch.ones(1))]).param_groups] == [0.01]
    with pytest.raises(CannotApply, match="neither optimizer nor recipe has a penalty"):
        treat(workload(), "weaken-penalty", {"factor": 0.01})


def test_no_step_is_taken_along_what_is_not_finite():
    sick, (_, poisoned_model) = workload(batches=poisoned()), run(workload(batches=poisoned()), steps=10)
    assert not all(bool(torch.isfinite(p).all()) for p in poisoned_model.parameters())
    _, model = run(treat(sick, "stop-before-poison", {}), steps=10)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


@pytest.mark.parametrize(
    ("remedy", "settings", "reads"),
    [
        ("clip-gradient-norm", {"max_norm": 0.5}, lambda r: r.clip_norm == 0.5),
        ("clip-gradient-value", {"max_value": 0.5}, lambda r: r.clip_value == 0.5),
        ("adaptive-clipping", {"limit": 0.01}, lambda r: r.clip_adaptive == 0.01),
        ("weight-decay", {"decay": 0.02}, lambda r: r.decay == 0.02),
        ("l2-penalty", {"l2": 0.02}, lambda r: r.l2 == 0.02),
        ("l1-penalty", {"l1": 0.02}, lambda r: r.l1 == 0.02),
        ("lower-learning-rate", {"factor": 0.1}, lambda r: r.factor(7) == 0.1),
        ("raise-learning-rate", {"factor": 10.0}, lambda r: r.factor(7) == 10),
        ("warm-up", {"steps": 10}, lambda r: [r.factor(s) for s in (0, 4, 9, 50)] == [0.1, 0.5, 1, 1]),
        ("cosine-schedule", {"steps": 10}, lambda r: r.factor(5) == pytest.approx(0.5)),
        ("accumulate-gradients", {"accumulate": 4}, lambda r: r.count(3) == 4),
        ("larger-batch", {"accumulate": 8, "batch_size": 256}, lambda r: r.count(3) == 8),
        (
            "growing-batch",
            {"accumulate": 4, "every": 10},
            lambda r: [r.count(s) for s in (0, 10, 20, 90)] == [1, 2, 4, 4],
        ),
        ("full-batch", {}, lambda r: r.full_batch),
    ],
)
def test_what_a_recipe_can_say_is_said_there(remedy, settings, reads):
    assert reads(treat(workload(), remedy, settings).recipe)
