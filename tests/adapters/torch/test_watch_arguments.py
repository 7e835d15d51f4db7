"""watch(model, optimizer): the optimizer must be one of the model, in part at least."""

from __future__ import annotations

from typing import Any

import gradscope
import pytest
import torch
from gradscope.errors import CannotJudge, UsageError
from torch import nn

from tests.adapters.torch.training import mlp, sgd, train


def over(*modules: nn.Module) -> torch.optim.Optimizer:
    """SGD over the parameters of some modules."""
    return torch.optim.SGD([p for m in modules for p in m.parameters()], lr=0.1)


def test_the_optimizer_of_another_model_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        gradscope.watch(mlp(), sgd(mlp()))
    assert str(caught.value) == (
        "watch(): this SGD holds no parameter of the model (Sequential): was it made for another model, or before this "
        "one was replaced?"
    )


def test_each_of_several_optimizers_must_hold_a_parameter() -> None:
    model, other = mlp(), mlp()
    with pytest.raises(UsageError, match="holds no parameter of the model"):
        gradscope.watch(model, [sgd(model), sgd(other)])


def test_a_refused_optimizer_gets_no_hooks() -> None:
    optimizer = sgd(mlp())
    with pytest.raises(UsageError):
        gradscope.watch(mlp(), optimizer)
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("optimized", ["a part", "more", "all"])
def test_an_optimizer_may_hold_a_part_of_the_model_or_more(optimized: str) -> None:
    model = mlp()
    optimizer = {"a part": over(model[0]), "more": over(model, mlp()), "all": over(model)}[optimized]
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer)
    assert scope.report().watched["steps"] == 10


def test_several_models_may_share_several_optimizers() -> None:
    one, other = mlp(), mlp()
    with gradscope.watch([one, other], [sgd(one), sgd(other)]) as scope:
        train(one, sgd(one))
    assert not scope.failures


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_model_that_is_initialized_lazily_is_watched() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer)
    assert scope.report().watched["steps"] == 10


def test_a_model_without_parameters_could_not_be_judged_whatever_the_optimizer() -> None:
    with pytest.raises(CannotJudge, match="ReLU has no parameter"):
        gradscope.watch(nn.ReLU(), sgd(mlp()))


@pytest.mark.parametrize("loss", [torch.ones(3), torch.ones(2, 2)])
def test_a_loss_of_several_numbers_is_refused(loss: Any) -> None:
    with pytest.raises(UsageError, match=r"log\(\): loss must be one number, got Tensor tensor"):
        gradscope.watch().log(loss=loss)


def test_a_tensor_that_requires_a_gradient_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"observe\(\): 'w' must be an array, got Tensor: .*detach"):
        gradscope.watch().observe(step=0, parameters={"w": torch.ones(2, requires_grad=True)})
