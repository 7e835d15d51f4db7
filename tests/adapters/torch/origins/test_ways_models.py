"""Models that are called in other ways, and values that come from elsewhere: buffers, constants, numpy."""

from __future__ import annotations

import copy
import math
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, WIDTH, Apply, batch, net, regression, samples
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    check,
    fails_by_itself,
    named,
    origin_of,
    program,
    run,
    undisturbed,
    unharmed,
)

TABLE = Table()
plant = TABLE.plant


def normalized(x: Tensor) -> Tensor:
    """Shares of a sum, which has to differ from 0."""
    return x / x.abs().sum(-1, keepdim=True)  # planted


@plant("forward", "module.fault", "div", samples=(BAD,), marked=True)
def a_model_within_data_parallel(sick: bool) -> Program:
    return regression(nn.DataParallel(net(Apply(normalized))), sick)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_functional_call_with_parameters(sick: bool) -> Program:
    model = net(Apply(normalized))

    def loss(step: int) -> Tensor:
        given = dict(model.named_parameters())
        return torch.func.functional_call(model, given, (batch(step, sick),)).square().mean()

    return program(model, loss)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_student_beside_its_teacher(sick: bool) -> Program:
    model = net(Apply(normalized))
    teacher = copy.deepcopy(model)

    def loss(step: int) -> Tensor:
        with torch.no_grad():
            target = teacher(samples(step))
            for kept, new in zip(teacher.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 0.1)
        return (model(batch(step, sick)) - target).square().mean()

    return program(model, loss)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def double_precision(sick: bool) -> Program:
    model = net(Apply(normalized)).double()
    return program(model, lambda step: model(batch(step, sick).double()).square().mean())


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def complex_numbers(sick: bool) -> Program:
    def filtered(x: Tensor) -> Tensor:
        waves = torch.fft.fft(x)
        return (waves / waves.abs().sum(-1, keepdim=True)).abs()  # planted

    return regression(net(Apply(filtered)), sick)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_hook_of_the_user_on_the_backward_pass(sick: bool) -> Program:
    model = net(Apply(normalized))
    model.fault.register_full_backward_hook(lambda _m, _given, _made: None)
    return regression(model, sick)


class Own(torch.autograd.Function):
    """Shares, whose backward pretends that they were the thing itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x / x.abs().sum(-1, keepdim=True)  # planted

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient


@plant("forward", "fault", "div", "Own", "own", samples=(BAD,), marked=True)
def the_forward_of_a_function_of_ones_own(sick: bool) -> Program:
    return regression(net(Apply(Own.apply)), sick)


class Poisoned(torch.autograd.Function):
    """Itself, with a slope that is not finite where it is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return torch.where(x == 0, math.inf, gradient)


@plant("backward", "fault.1", "Poisoned", "poisoned", samples=(BAD,), parameter="stem.weight")
def a_function_of_ones_own_between_layers(sick: bool) -> Program:
    return regression(net(nn.Sequential(nn.Tanh(), Apply(Poisoned.apply), nn.Tanh())), sick)


class Scaled(nn.Module):
    """Divides by what a buffer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("deviation", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x / self.deviation  # planted


def buffered(sick: bool, value: float) -> Program:
    """A program that sets one number of a buffer in its fourth step."""
    model = net(Scaled())

    def loss(step: int) -> Tensor:
        if sick and step == FAILS:
            model.fault.deviation[3] = value
        return model(samples(step)).square().mean()

    return program(model, loss)


@plant("forward", "fault", "div", features=(3,), why=["0"], marked=True)
def a_buffer_that_is_zero(sick: bool) -> Program:
    return buffered(sick, 0.0)


@plant("parameter", "fault", parameter="fault.deviation", why=["buffer"])
def a_buffer_that_is_nan(sick: bool) -> Program:
    return buffered(sick, math.nan)


@plant("forward", "fault", samples=(BAD,), marked=True)
def a_weight_from_numpy(sick: bool) -> Program:
    def weighed(x: Tensor) -> Tensor:
        with np.errstate(divide="ignore"):
            weights = 1 / np.abs(x.detach().numpy()).sum(-1, keepdims=True)
        return x * torch.from_numpy(weights)  # planted

    return regression(net(Apply(weighed)), sick)


@plant("forward", "fault", marked=True)
def a_constant_of_the_program(sick: bool) -> Program:
    def shifted(x: Tensor) -> Tensor:
        return x + torch.tensor(math.nan if not x[BAD].any() else 0.0)  # planted

    return regression(net(Apply(shifted)), sick)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_program_fails_by_itself_and_its_twin_does_not(plant: Plant) -> None:
    fails_by_itself(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_origin_is_named(plant: Plant) -> None:
    origin = named(plant)
    assert origin.op not in {"lift_fresh", "aten"}


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_twin_has_none(plant: Plant) -> None:
    unharmed(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_training_is_the_same_bit_for_bit(plant: Plant) -> None:
    undisturbed(plant)


@pytest.mark.parametrize("given", ["nothing", "list", "tuple"])
def test_the_origin_is_named_however_the_model_was_given(given: str) -> None:
    body, head = net(Apply(normalized)), nn.Linear(2, 1)
    both = nn.ModuleList([body, head])
    optimizer = torch.optim.SGD(both.parameters(), lr=1e-3)
    trained = program(both, lambda step: head(body(batch(step, True))).square().mean(), optimizer)
    models: Any = {"nothing": body, "list": [body, head], "tuple": (body, head)}[given]
    with gradscope.watch(models, None if given == "nothing" else optimizer) as scope:
        run(trained)
    origin = origin_of(scope)
    assert origin is not None
    assert origin.module.endswith("fault")
    check(origin, Plant(lambda _: trained, "forward", None, ("div",), marked=True, rest={"samples": (BAD,)}))


def test_a_sample_is_counted_in_the_batch_also_where_its_parts_are_flattened() -> None:
    class Tokens(nn.Module):
        """Takes the tokens of all samples together."""

        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(WIDTH, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(normalized(x.reshape(-1, WIDTH)))

    def build(sick: bool) -> Program:
        model = Tokens()

        def loss(step: int) -> Tensor:
            x = samples(step, 4, (7, WIDTH))
            if sick and step == FAILS:
                x[BAD, 5] = 0
            return model(x).square().mean()

        return program(model, loss)

    plant = Plant(build, "forward", "", ("div",), marked=True, rest={"samples": (BAD,)})
    fails_by_itself(plant)
    named(plant)
