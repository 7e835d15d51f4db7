"""A step that is run again leaves no trace: other random streams, buffers, leaves, hooks and optimizers of the user."""

from __future__ import annotations

import random
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, Apply, batch, net, regression, samples
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    changed,
    fails_by_itself,
    named,
    origin_of,
    program,
    run,
    state_of,
    undisturbed,
    unharmed,
    watched_run,
)
from tests.adapters.torch.training import untroubled

TABLE = Table()
plant = TABLE.plant


def normalized(x: Tensor) -> Tensor:
    """Shares of a sum, which has to differ from 0."""
    return x / x.abs().sum(-1, keepdim=True)  # planted


def rooted(x: Tensor) -> Tensor:
    """A vector times its length, whose slope at 0 is not finite."""
    return x * x.square().sum(-1, keepdim=True).sqrt()  # planted


class Averaged(nn.Module):
    """Keeps a running mean in a buffer, in place, and divides by what is left of it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return x / (x - self.mean * 0).abs().sum(-1, keepdim=True)  # planted


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def buffers_that_are_changed_in_place(sick: bool) -> Program:
    return regression(net(Averaged()), sick)


class Replaced(nn.Module):
    """Keeps a running mean in a buffer that is another tensor each time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x / x.abs().sum(-1, keepdim=True)  # planted


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def buffers_that_are_replaced(sick: bool) -> Program:
    return regression(net(Replaced()), sick)


class Counting(nn.Module):
    """Counts its calls in a plain number, that its output follows from."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.fill_(self.calls)
        return x / x.abs().sum(-1, keepdim=True)  # planted


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_number_that_counts_the_calls(sick: bool) -> Program:
    return regression(net(Counting()), sick)


@plant("forward", "fault.1", "div", samples=(BAD,), marked=True)
def spectral_normalization(sick: bool) -> Program:
    inner = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8, bias=False))
    return regression(net(nn.Sequential(inner, Apply(normalized))), sick)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def statistics_of_a_batch_before_a_quotient(sick: bool) -> Program:
    torch.manual_seed(0)
    model = net(Apply(normalized))
    model.act = nn.Sequential(nn.BatchNorm1d(8, affine=False), nn.Tanh(), Apply(lambda x: x * alive))
    alive = torch.ones(8, 1)

    def loss(step: int) -> Tensor:
        alive[BAD] = 0.0 if sick and step == FAILS else 1.0
        return model(samples(step)).square().mean()

    return program(model, loss)


@plant("forward", "fault", "div", step=1, marked=True)
def noise_of_other_libraries(sick: bool) -> Program:
    """Fails where numpy and Python both draw a low number."""
    random.seed(4)
    np.random.seed(4)

    def noisy(x: Tensor) -> Tensor:
        low = np.random.random() < 0.6 and random.random() < 0.6
        return x / (0.0 if low and sick else 1.0)  # planted

    return regression(net(Apply(noisy)), False)


@plant("forward", "fault", "div", step=2, marked=True)
def a_generator_of_ones_own(sick: bool) -> Program:
    generator = torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Tensor:
        drawn = torch.rand((), generator=generator)
        return x / (drawn > 0.2 if sick else 1.0)  # planted

    return regression(net(Apply(noisy)), False)


@plant("backward", "fault", "sqrt", parameter="stem.weight", marked=True)
def clipping_spreads_it_over_all_gradients(sick: bool) -> Program:
    model = net(Apply(rooted))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        loss = model(batch(number, sick)).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return Program(model, optimizer, step)


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


def test_the_streams_of_python_and_numpy_are_where_they_would_be() -> None:
    def states(*, watched: bool) -> tuple[Any, list[int]]:
        trained = noise_of_other_libraries(True)
        if watched:
            watched_run(trained)
        else:
            run(trained)
        return random.getstate(), np.random.get_state()[1].tolist()

    assert states(watched=True) == states(watched=False)


def leaves(*, watched: bool) -> list[Tensor]:
    """Gradients of the inputs, which want them, up to the failing step."""
    torch.manual_seed(0)
    model = net(Apply(rooted))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scope = gradscope.watch(model, optimizer) if watched else None
    found = []
    for number in range(FAILS + 1):
        x = batch(number, True).requires_grad_()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        found.append(x.grad)
    if scope is not None:
        scope.close()
        assert origin_of(scope) is not None
    return found


def test_gradients_of_the_inputs_are_as_they_were() -> None:
    pairs = list(zip(leaves(watched=True), leaves(watched=False), strict=True))
    assert [torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs] == [True] * (FAILS + 1)


def test_hooks_of_the_user_on_parameters_hear_each_gradient_once() -> None:
    model = net(Apply(rooted))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    heard: list[str] = []
    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(lambda _p, name=name: heard.append(name))
    trained = program(model, lambda step: model(batch(step, True)).square().mean(), optimizer)
    scope, trace = watched_run(trained)
    assert origin_of(scope) is not None
    assert len(heard) == 3 * len(trace.weights)


def test_an_optimizer_within_the_backward_pass_steps_once() -> None:
    def within(*, watched: bool) -> dict[str, bytes]:
        torch.manual_seed(0)
        model = net(Apply(rooted))
        optimizers = {p: torch.optim.SGD([p], lr=1e-2, momentum=0.9) for p in model.parameters()}

        def taken(p: nn.Parameter) -> None:
            optimizers[p].step()
            optimizers[p].zero_grad()

        for p in model.parameters():
            p.register_post_accumulate_grad_hook(taken)
        scope = gradscope.watch(model, list(optimizers.values())) if watched else None
        for number in range(FAILS + 1):
            model(batch(number, True)).square().mean().backward()
        if scope is not None:
            scope.close()
            untroubled(scope)
        return state_of(Program(model, list(optimizers.values()), lambda _: torch.zeros(())))

    assert changed([within(watched=True)], [within(watched=False)]) == []
