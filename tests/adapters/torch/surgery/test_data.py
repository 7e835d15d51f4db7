"""Remedies that change inputs and targets: standardized, moved, scaled, reshaped, checked, shuffled."""

import copy

import pytest
import torch
from gradscope.errors import CannotApply
from torch import nn
from torch.nn import functional as F

from gradscope_torch.surgery import treat
from tests.adapters.torch.surgery.workloads import Images, images, model_of, plain, poisoned, regression, workload


def test_inputs_are_standardized_by_the_moments_of_all_batches():
    batches = [(50 + 9 * x, y) for x, y in regression()]
    made = model_of(treat(workload(batches=batches), "standardize-input", {}))
    x = made[0](torch.cat([x for x, _ in batches]))
    assert torch.allclose(x.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(x.std(0, unbiased=False), torch.ones(8), atol=1e-4)


def test_a_constant_feature_is_not_divided_by_zero():
    batches = [(torch.cat([x[:, :7], torch.full((32, 1), 3.0)], 1), y) for x, y in regression()]
    made = model_of(treat(workload(batches=batches), "standardize-input", {}))
    assert float(made[0](batches[0][0])[:, 7].abs().max()) == 0


def test_indices_are_not_standardized():
    embedded = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(32, 1))
    batches = [(torch.randint(0, 10, (32, 8)), y) for _, y in regression()]
    with pytest.raises(CannotApply, match=r"the inputs are torch.int64: indices, not measurements"):
        treat(workload(embedded, batches), "standardize-input", {})


def test_noise_and_crops_are_there_only_while_it_trains():
    x = images()[0][0]
    for remedy, settings in (("input-noise", {"deviation": 0.1}), ("random-crops", {"padding": 2})):
        first = model_of(treat(workload(Images(), images()), remedy, settings))[0]
        changed = first(x)
        assert changed.shape == x.shape
        assert not torch.equal(changed, x)
        assert torch.equal(first.eval()(x), x)


def test_noise_has_the_size_that_was_asked_for():
    given = workload(batches=[(100 * x, y) for x, y in regression()])
    first = model_of(treat(given, "input-noise", {"deviation": 0.1}))[0]
    assert float(first(torch.zeros(1000, 8)).std()) == pytest.approx(10, rel=0.1)


def test_crops_move_every_image_by_itself():
    first = model_of(treat(workload(Images(), images()), "random-crops", {"padding": 1}))[0]
    marked = torch.zeros(200, 1, 8, 8)
    marked[:, :, 4, 4] = 1
    places = {tuple(one.nonzero()[0].tolist()[1:]) for one in first(marked)}
    assert places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}


def test_a_scaled_target_keeps_the_value_of_the_loss_and_standardizes_its_gradient():
    batches = [(x, 1000 + 200 * y) for x, y in regression()]
    made = treat(workload(batches=batches), "scale-target", {"mean": 1000.0, "deviation": 200.0})
    model, (x, y) = model_of(made), batches[0]
    output = model(x)
    loss = made.loss(output, y)
    assert loss.item() == pytest.approx(F.mse_loss(output, y).item())
    loss.backward()
    found = model[0][0].weight.grad.clone()
    other = copy.deepcopy(model[0])
    other.zero_grad()
    F.mse_loss(other(x), (y - 1000) / 200).backward()
    assert torch.allclose(found, other[0].weight.grad, rtol=1e-3)


def test_a_target_takes_the_shape_of_the_output():
    made = treat(workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain), "match-shapes", {})
    output, target = torch.zeros(4, 1), torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert float(made.loss(output, target)) == 7.5
    with pytest.raises(CannotApply, match=r"output and target of \(32, 1\) and \(32, 1\) are alike"):
        treat(workload(), "match-shapes", {})


def test_samples_that_are_not_finite_are_dropped():
    made = treat(workload(batches=poisoned()), "check-data", {})
    assert [len(x) for x, _ in made.batches] == [32, 32, 32, 31, *[32] * 6]
    with pytest.raises(CannotApply, match="every number of the batches is finite"):
        treat(workload(), "check-data", {})


def test_batches_are_shuffled_anew_in_each_pass_and_hold_the_same_samples():
    given = workload()
    made = treat(given, "shuffle-data", {})
    torch.manual_seed(0)
    first, second = ([x for x, _ in made.batches()] for _ in range(2))
    assert not torch.equal(first[0], second[0])
    every = torch.cat([x for x, _ in given.batches])
    assert torch.equal(torch.cat(first).sort(0).values, every.sort(0).values)


def test_batches_that_a_look_would_use_up_are_not_looked_at():
    given = iter(regression())
    with pytest.raises(CannotApply, match="batches is an iterator that a look at them would use up"):
        treat(workload(batches=given), "batch-normalization", {})
    assert len(list(given)) == 10
