"""Half precision: what overflows under autocast, and what a scaler skips on purpose."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, Apply, batch, net
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    fails_by_itself,
    named,
    origin_of,
    program,
    undisturbed,
    unharmed,
    watched_run,
)

TABLE = Table()
plant = TABLE.plant


def cast(model: nn.Module, sick: bool, bad: float, dtype: torch.dtype) -> Program:
    """The mean square, the forward pass under autocast; one sample of the failing batch is large."""

    def loss(step: int) -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            out = model(batch(step, sick, bad))
        return out.float().square().mean()

    return program(model, loss)


@plant("forward", "fault", "linear", samples=(BAD,), why=["overflow", "float16"])
def product_overflows_in_float16(sick: bool) -> Program:
    model = net(nn.Linear(8, 8, bias=False), nn.Identity())
    nn.init.constant_(model.fault.weight, 10)
    return cast(model, sick, 3e4, torch.float16)


@plant("forward", "fault", "exp", samples=(BAD,), why=["overflow"], marked=True)
def exponential_overflows_in_float16(sick: bool) -> Program:
    return cast(net(Apply(lambda x: x.half().exp()), nn.Identity()), sick, 1e3, torch.float16)  # planted


@plant("forward", "fault", "exp", samples=(BAD,), why=["overflow"], marked=True)
def exponential_overflows_in_bfloat16(sick: bool) -> Program:
    return cast(net(Apply(lambda x: x.bfloat16().exp()), nn.Identity()), sick, 1e3, torch.bfloat16)  # planted


@plant("forward", "fault", "matmul", "bmm", "mm", samples=(BAD,), why=["overflow", "float16"])
def scores_without_their_scale_overflow_in_float16(sick: bool) -> Program:
    return cast(net(Apply(lambda x: (x[:, None] @ x[:, :, None])[:, 0] + x), nn.Identity()), sick, 1e3, torch.float16)


class Narrow(nn.Module):
    """Half precision by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 100).half().float() / 100  # planted


@plant("forward", "fault", "half", "to", samples=(BAD,), why=["overflow", "float16"], marked=True)
def conversion_to_half_overflows(sick: bool) -> Program:
    model = net(Narrow(), nn.Identity())
    return program(model, lambda step: model(batch(step, sick, 1e4)).square().mean())


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_program_fails_by_itself_and_its_twin_does_not(plant: Plant) -> None:
    fails_by_itself(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_origin_is_named(plant: Plant) -> None:
    named(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_twin_has_none(plant: Plant) -> None:
    unharmed(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_training_is_the_same_bit_for_bit(plant: Plant) -> None:
    undisturbed(plant)


def test_the_type_that_overflowed_stands_in_the_shapes() -> None:
    origin = named(TABLE[0])
    assert {o.dtype.removeprefix("torch.") for o in origin.shapes if not o.finite} == {"float16"}


def scaled(sick: bool, *, scale: float = 2.0**16) -> Program:
    """A loop with a scaler, unscaled gradients and clipping; in the failing step the scaled gradient overflows, or,
    where the scale is 1, a root at zero is ill by itself."""
    own = scale == 1.0
    model = net(Apply(lambda x: x.square().sum(-1, keepdim=True).sqrt() * x) if own else nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        loss = model(batch(number, sick and own)).square().mean()
        large = 1e38 if sick and number == FAILS and not own else 1.0
        scaler.scale(loss * large).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss

    return Program(model, optimizer, step)


def test_an_overflow_that_a_scaler_skips_is_no_origin() -> None:
    scope, trace = watched_run(scaled(True))
    assert trace.failed == FAILS
    assert not [v.name for v in scope.report().verdicts if v.name.startswith("non-finite")]
    assert origin_of(scope) is None


def test_a_scaler_that_skips_trains_the_same_bit_for_bit() -> None:
    undisturbed(Plant(scaled, "", None, ()))


def test_a_fault_of_the_models_own_below_a_scaler_costs_no_weights() -> None:
    build = partial(scaled, scale=1.0)
    scope, trace = watched_run(build(True))
    origin = origin_of(scope)
    assert trace.failed == FAILS
    assert origin is None or (origin.phase, origin.op, origin.module) == ("backward", "sqrt", "fault")


def test_a_model_in_bfloat16_is_named_by_its_own_numbers() -> None:
    def build(sick: bool) -> Program:
        model = net(Apply(lambda x: x / x.abs().sum(-1, keepdim=True))).bfloat16()  # planted
        return program(model, lambda step: model(batch(step, sick).bfloat16()).float().square().mean())

    plant = Plant(build, "forward", "fault", ("div",), marked=True, rest={"samples": (BAD,)})
    fails_by_itself(plant)
    unharmed(plant)
    named(plant)
