"""Broken before the step: weights that an update, a decay or the program itself has overflowed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import net, samples
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    fails_by_itself,
    origin_of,
    program,
    undisturbed,
    unharmed,
    watched_run,
)

TABLE = Table()
plant = TABLE.plant


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> Program:
    """The mean square of what the model gives."""
    return program(model, lambda step: model(samples(step)).square().mean(), optimizer)


@plant("parameter", "head", parameter="head.bias", why=["update"])
def a_learning_rate_that_throws_one_bias_out_of_range(sick: bool) -> Program:
    model = net(nn.ReLU())
    groups = [
        {"params": [p for n, p in model.named_parameters() if n != "head.bias"], "lr": 1e-6},
        {"params": [model.head.bias], "lr": 1e-6},
    ]
    optimizer = torch.optim.SGD(groups)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        loss = 1e3 * model(samples(number)).square().mean()
        loss.backward()
        optimizer.param_groups[1]["lr"] = 3e38 if sick and number == FAILS - 1 else 1e-6
        optimizer.step()
        return loss

    return Program(model, optimizer, step)


@plant("parameter", "stem", step=1, parameter="stem.weight")
def an_optimizer_that_divides_by_zero(sick: bool) -> Program:
    model = net(nn.ReLU())
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, eps=1e-8)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        scale = 0.0 if number == 0 else 1.0
        loss = scale * model(samples(number)).square().mean()
        loss.backward()
        optimizer.param_groups[0]["eps"] = 0.0 if sick and number == 0 else 1e-8
        optimizer.step()
        return loss

    return Program(model, optimizer, step)


@plant("parameter", "fault", parameter="fault.weight", count=1)
def a_weight_that_the_program_sets(sick: bool) -> Program:
    model = net(nn.Linear(8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        if sick and number == FAILS:
            with torch.no_grad():
                model.fault.weight[3, 5] = math.nan
        optimizer.zero_grad()
        loss = model(samples(number)).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(model, optimizer, step)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_program_fails_by_itself_and_its_twin_does_not(plant: Plant) -> None:
    fails_by_itself(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_origin_is_named(plant: Plant) -> None:
    scope, _ = watched_run(plant.made(True))
    origin = origin_of(scope)
    assert origin is not None
    told = origin.as_dict()
    assert told == {**told, "phase": plant.phase, "module": plant.module, **plant.rest}
    assert origin.step in {plant.step - 1, plant.step}
    for words in plant.why:
        assert words in origin.reason


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_twin_has_none(plant: Plant) -> None:
    unharmed(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_training_is_the_same_bit_for_bit(plant: Plant) -> None:
    undisturbed(plant)


def test_weights_that_were_broken_before_the_first_step() -> None:
    model = net(nn.Linear(8, 8))
    with torch.no_grad():
        model.fault.bias[2] = math.inf
    scope, trace = watched_run(trained(model, torch.optim.SGD(model.parameters(), lr=1e-3)))
    origin = origin_of(scope)
    assert trace.failed == 0
    assert origin is not None
    assert (origin.phase, origin.step, origin.parameter, origin.module) == ("parameter", 0, "fault.bias", "fault")


def test_of_weights_that_were_broken_all_along_no_update_is_accused() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight[4] = math.nan
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    ids = [[0, 1], [1, 2], [3, 4], [0, 1]]
    scope, trace = watched_run(program(model, lambda step: model(torch.tensor(ids[step])).mean(), optimizer), 4)
    origin = origin_of(scope)
    assert origin is not None
    assert (trace.failed, origin.phase, origin.parameter) == (2, "parameter", "0.weight")
    assert "whose gradients were finite" not in origin.reason


def test_a_rate_that_grows_weights_for_steps_names_the_product_that_overflowed() -> None:
    model = net(nn.Linear(8, 8))
    scope, trace = watched_run(trained(model, torch.optim.SGD(model.parameters(), lr=1e4)), 30)
    origin = origin_of(scope)
    assert origin is not None
    assert origin.phase in {"forward", "loss", "backward"}
    assert origin.step == trace.failed
    assert "overflow" in origin.reason


def test_buffers_may_hold_infinities_on_purpose() -> None:
    def build(_sick: bool) -> Program:
        model = net(nn.ReLU())
        model.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))
        return program(model, lambda step: (model(samples(step)) @ torch.ones(2, 8) + model.mask).softmax(-1).std())

    unharmed(Plant(build, "", None, ()))
