"""Workloads of torch: trained as their recipe says, made afresh, scored."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gradscope import Scope, Settings, Workload
from gradscope.errors import CannotJudge, UsageError
from gradscope.recipe import Recipe, warm_up
from torch import nn

from gradscope_torch.session import Session
from gradscope_torch.trainer import evaluate, fresh, train

GENERATOR = torch.Generator().manual_seed(0)
LINE = torch.randn(8, 1, generator=GENERATOR)
BATCHES = [(x, x @ LINE) for x in torch.randn(12, 16, 8, generator=GENERATOR)]


def model(*more: nn.Module) -> nn.Sequential:
    """A perceptron, the same each time."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), *more, nn.ReLU(), nn.Linear(16, 1))


def workload(**changes: Any) -> Workload:
    """A regression that learns."""
    made: dict[str, Any] = {"model": model(), "loss": nn.functional.mse_loss, "batches": BATCHES}
    return Workload(**made | {"optimizer": lambda p: torch.optim.SGD(p, lr=0.05)} | changes)


def observed(one: Workload, steps: int = 20) -> Scope:
    """The scope of a training under a session."""
    scope = Scope(Settings(steps=steps))
    with Session(scope):
        train(scope, one)
    assert not scope.failures
    return scope


def weights(one: Workload) -> list[np.ndarray]:
    """Copies of them."""
    return [p.detach().numpy().copy() for p in one.model.parameters()]


# -- the recipe --------------------------------------------------------------------------------------------------------


def test_steps_are_counted_without_a_session_too() -> None:
    seen: list[int] = []
    one = workload(loss=lambda o, t: seen.append(1) or nn.functional.mse_loss(o, t), recipe=Recipe(accumulate=3))
    train(Scope(Settings(steps=5)), one)
    assert len(seen) == 15


def test_a_schedule_sets_the_rate_of_every_group_from_its_own() -> None:
    def groups(parameters: Any) -> torch.optim.Optimizer:
        first, *rest = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.4}, {"params": rest, "lr": 0.1}])

    made: list[torch.optim.Optimizer] = []
    one = workload(optimizer=lambda p: made.append(groups(p)) or made[0], recipe=Recipe(schedule=warm_up(4)))
    scope = observed(one, 6)
    assert scope.histories[0].run("learning_rate") == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert [g["lr"] for g in made[0].param_groups] == [0.4, 0.1]


def test_batches_of_one_step_are_one_step_with_their_mean_loss_and_gradient() -> None:
    scope = observed(workload(recipe=Recipe(accumulate=4)), 3)
    history = scope.histories[0]
    assert history.run("backward_passes").tolist() == [4, 4, 4]
    start = model()
    losses = [nn.functional.mse_loss(start(x), y) for x, y in BATCHES[:4]]
    mean = torch.stack(losses).mean()
    assert history.run("loss")[0] == pytest.approx(mean.item(), rel=1e-5)
    mean.backward()
    norms = [float(p.grad.norm()) for p in start.parameters()]
    assert history["gradient"].column("gradient_norm")[0] == pytest.approx(norms, rel=1e-4)
    assert [v.name for v in scope.report().verdicts] == []


def test_clipping_by_norm_is_seen() -> None:
    history = observed(workload(recipe=Recipe(clip_norm=0.01)), 5).histories[0]
    assert history.run("clip_limit") == pytest.approx([0.01] * 5)
    assert (history.run("clip_before") > 0.01).all()


def test_sparse_gradients_are_averaged_and_clipped() -> None:
    torch.manual_seed(0)
    table = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Flatten(), nn.Linear(8, 1))
    tokens = [(torch.randint(0, 10, (16, 2), generator=GENERATOR), torch.ones(16, 1)) for _ in range(4)]
    for recipe in (Recipe(accumulate=2), Recipe(accumulate=2, clip_norm=0.1, clip_value=0.1, l2=0.1)):
        dense = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 1))
        dense.load_state_dict(table.state_dict())
        one = fresh(workload(model=table, batches=tokens, recipe=recipe), 0)
        other = workload(model=dense, batches=tokens, recipe=recipe)
        for w in (one, other):
            train(Scope(Settings(steps=3)), w)
        for a, b in zip(weights(one), weights(other), strict=True):
            assert a == pytest.approx(b, abs=1e-6)


def test_parameters_without_a_gradient_are_left_alone() -> None:
    net = model()
    net.spare = nn.Linear(3, 3)  # never called
    held = net.spare.weight.detach().clone()
    one = workload(recipe=Recipe(accumulate=2, clip_norm=1.0, clip_value=1.0, clip_adaptive=0.1, l1=0.1, decay=0.5))
    net.forward = lambda x: net[2](net[1](net[0](x)))
    train(Scope(Settings(steps=3)), replace(one, model=net))
    assert (net.spare.weight == held).all()


def test_an_optimizer_without_a_rate_takes_no_schedule() -> None:
    class Rateless(torch.optim.Optimizer):
        def __init__(self, parameters: Any):
            super().__init__(parameters, {})

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            return None

    with pytest.raises(UsageError, match="Rateless has no learning rate to be scheduled"):
        train(Scope(Settings(steps=2)), workload(optimizer=Rateless, recipe=Recipe(schedule=warm_up(3))))


# -- afresh ------------------------------------------------------------------------------------------------------------


def test_a_fresh_workload_has_a_model_of_its_own() -> None:
    one = workload()
    before = weights(one)
    made = fresh(one, 5)
    train(Scope(Settings(steps=3)), made)
    assert all((a == b).all() for a, b in zip(before, weights(one), strict=True))
    assert any((a != b).any() for a, b in zip(before, weights(made), strict=True))


def test_a_model_is_built_anew_from_its_seed() -> None:
    one = workload(model=lambda: nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1)))
    first, second, other = (weights(fresh(one, seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert (first[0] != other[0]).any()


def test_a_model_class_is_built() -> None:
    class Net(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 1)

    assert isinstance(fresh(workload(model=Net), 0).model, Net)


def test_a_seed_decides_python_numpy_and_torch() -> None:
    def drawn(seed: int) -> tuple[float, float, float]:
        fresh(workload(), seed)
        return random.random(), float(np.random.random()), float(torch.rand(()))

    assert drawn(3) == drawn(3) != drawn(4)


def test_a_model_that_cannot_be_copied_is_refused_with_what_would_work() -> None:
    net = model()
    net.kept = torch.ones(2, requires_grad=True) * 2  # not a leaf: deepcopy refuses it
    with pytest.raises(UsageError, match=r"a Sequential cannot be copied .* give a function that builds it"):
        fresh(workload(model=net), 0)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_score_is_the_mean_over_samples() -> None:
    uneven = [(torch.ones(3, 8), torch.full((3, 1), 2.0)), (torch.ones(1, 8), torch.zeros(1, 1))]
    one = workload(held_out=uneven, metric=lambda o, t: (t > 0).float().mean())
    output = float(one.model(torch.ones(1, 8)).detach())
    found = evaluate(one)
    assert found.loss == pytest.approx((3 * (output - 2) ** 2 + output**2) / 4, rel=1e-5)
    assert found.metric == 0.75
    assert evaluate(workload()).metric is None


@pytest.mark.parametrize("metric", [lambda o, t: o == t, lambda o, t: np.ones(4), lambda o, t: 1, lambda o, t: True])
def test_a_metric_may_be_any_number_or_array(metric: Any) -> None:
    assert evaluate(workload(metric=metric)).metric in {0.0, 1.0}


def test_losses_of_single_samples_are_averaged() -> None:
    whole = evaluate(workload()).loss
    single = evaluate(workload(loss=nn.MSELoss(reduction="none"))).loss
    assert single == pytest.approx(whole, rel=1e-5)


def test_evaluation_changes_neither_modes_nor_averages_nor_chance() -> None:
    frozen = nn.BatchNorm1d(16).eval()
    one = workload(model=model(nn.BatchNorm1d(16), nn.Dropout(0.5), frozen))
    one.model.train()
    frozen.eval()
    state = {k: v.clone() for k, v in one.model.state_dict().items()}
    torch.manual_seed(0)
    chance = torch.get_rng_state()
    assert evaluate(one) == evaluate(one)
    assert all((v == one.model.state_dict()[k]).all() for k, v in state.items())
    assert (torch.get_rng_state() == chance).all()
    assert [m.training for m in one.model] == [True, True, True, False, True, True]
    assert all(p.grad is None for p in one.model.parameters())


def test_modes_are_put_back_where_the_model_raises() -> None:
    one = workload(batches=[(torch.ones(2, 7), torch.ones(2, 1))])
    with pytest.raises(RuntimeError):
        evaluate(one)
    assert one.model.training


def test_a_score_that_is_not_finite_is_nan() -> None:
    broken = [(torch.full((2, 8), torch.inf), torch.zeros(2, 1))]
    assert np.isnan(evaluate(workload(held_out=broken)).loss)


def test_nothing_held_out_is_no_score() -> None:
    with pytest.raises(CannotJudge, match="held_out gave none"):
        evaluate(workload(held_out=[]))


def test_evaluation_between_steps_is_no_part_of_what_is_observed() -> None:
    scope, one = Scope(Settings(steps=10)), workload()
    with Session(scope):
        train(scope, one)
        evaluate(one)
        train(scope, one)
    plain, other = Scope(Settings(steps=10)), workload()
    with Session(plain):
        train(plain, other)
        train(plain, other)
    assert [len(h["step"]) for h in scope.histories] == [len(h["step"]) for h in plain.histories]
    assert scope.histories[0].run("loss").tolist() == plain.histories[0].run("loss").tolist()
