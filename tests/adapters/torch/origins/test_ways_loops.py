"""Loops that are not the plainest: accumulation, several calls, optimizers, backward passes; closures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, WIDTH, Apply, batch, net, regression, samples
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    fails_by_itself,
    named,
    origins_of,
    program,
    undisturbed,
    unharmed,
    watched_run,
)

TABLE = Table()
plant = TABLE.plant


def normalized(x: Tensor) -> Tensor:
    """Shares of a sum, which has to differ from 0."""
    return x / x.abs().sum(-1, keepdim=True)  # planted


def rooted(x: Tensor) -> Tensor:
    """A vector times its length, whose slope at 0 is not finite."""
    return x * x.square().sum(-1, keepdim=True).sqrt()  # planted


def accumulating(fault: Any, sick: bool, bad_pass: int) -> Program:
    """Four backward passes a step; in the failing step one of them has a bad sample."""
    model = net(Apply(fault))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros(())
        for i in range(4):
            x = samples(10 * number + i)
            if sick and number == FAILS and i == bad_pass:
                x[BAD] = 0
            loss = model(x).square().mean() / 4
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        return total

    return Program(model, optimizer, step)


@plant("forward", "fault", "div", micro_batch=2, samples=(BAD,), marked=True)
def the_third_of_four_accumulated_batches(sick: bool) -> Program:
    return accumulating(normalized, sick, 2)


@plant("backward", "fault", "sqrt", micro_batch=1, parameter="stem.weight", marked=True)
def the_backward_pass_of_the_second_of_four(sick: bool) -> Program:
    return accumulating(rooted, sick, 1)


@plant("forward", "fault", "div", micro_batch=0, samples=(BAD,), marked=True)
def the_first_of_four_accumulated_batches(sick: bool) -> Program:
    return accumulating(normalized, sick, 0)


@plant("forward", "fault", "div", micro_batch=3, samples=(BAD,), marked=True)
def the_last_of_four_accumulated_batches(sick: bool) -> Program:
    return accumulating(normalized, sick, 3)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def the_second_call_of_a_siamese_network(sick: bool) -> Program:
    model = net(Apply(normalized))
    return program(model, lambda step: (model(samples(step + 9)) - model(batch(step, sick))).square().mean())


class Cell(nn.Module):
    """One step of a recurrent network, whose state is divided by what an input may bring to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.kept = nn.Linear(WIDTH, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        state = (self.given(x) + self.kept(state)).tanh()
        return state / (x != 0).float().mean(-1, keepdim=True)  # planted


@plant("forward", "", "div", samples=(BAD,), module_class="Cell", marked=True)
def a_recurrent_network_by_hand(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Cell()

    def loss(step: int) -> Tensor:
        state = torch.zeros(8, 4)
        for t in range(6):
            state = model(batch(step, sick and t == 4), state)
        return state.square().mean()

    return program(model, loss)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def two_backward_passes_through_one_graph(sick: bool) -> Program:
    model = net(Apply(normalized))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        out = model(batch(number, sick))
        out.square().mean().backward(retain_graph=True)
        loss = out.abs().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(model, optimizer, step)


@plant("backward", "fault", "sqrt", marked=True)
def the_second_backward_pass_alone_is_broken(sick: bool) -> Program:
    model = net(Apply(rooted))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        optimizer.zero_grad()
        out = model(batch(number, sick))
        model.head.weight.square().sum().backward()
        loss = out.abs().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(model, optimizer, step)


class Critic(nn.Module):
    """A critic that may be told to be flat."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(WIDTH, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor, flat: float) -> Tensor:
        return self.out((flat * self.hidden(x)).tanh())


@plant("backward", None, "sqrt")
def a_penalty_on_the_gradient(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Critic()

    def loss(step: int) -> Tensor:
        x = samples(step).requires_grad_()
        flat = 0.0 if sick and step == FAILS else 1.0
        out = model(x, flat)
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        return out.mean() + (slope.square().sum(-1).sqrt() - 1).square().mean()  # planted

    return program(model, loss)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_closure_of_lbfgs(sick: bool) -> Program:
    model = net(Apply(normalized))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1e-2, max_iter=3)

    def step(number: int) -> Tensor:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = model(batch(number, sick)).square().mean()
            loss.backward()
            return loss

        return optimizer.step(closure)

    return Program(model, optimizer, step)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_closure_of_sgd(sick: bool) -> Program:
    model = net(Apply(normalized))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)

    def step(number: int) -> Tensor:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = model(batch(number, sick)).square().mean()
            loss.backward()
            return loss

        return optimizer.step(closure)

    return Program(model, optimizer, step)


class Pair(nn.Module):
    """A generator and a critic; it has no forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = net(nn.ReLU()), nn.Sequential(nn.Linear(2, 4), Apply(normalized), nn.Linear(4, 1))


@plant("forward", "critic.1", "div", samples=(BAD,), marked=True)
def two_networks_that_compete(sick: bool) -> Program:
    torch.manual_seed(0)
    pair = Pair()
    nn.init.zeros_(pair.critic[0].bias)
    of_generator = torch.optim.Adam(pair.generator.parameters(), lr=1e-3)
    of_critic = torch.optim.SGD([pair.critic[0].weight, *pair.critic[2].parameters()], lr=1e-3)

    def step(number: int) -> Tensor:
        made = pair.generator(samples(number))
        of_critic.zero_grad()
        real = samples(number, shape=(2,))
        if sick and number == FAILS:
            real[BAD] = 0
        loss = F.softplus(-pair.critic(real)).mean() + F.softplus(pair.critic(made.detach())).mean()
        loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        F.softplus(-pair.critic(made)).mean().backward()
        of_generator.step()
        return loss

    return Program(pair, [of_critic, of_generator], step)


@plant("forward", "generator.fault", "div", samples=(BAD,), marked=True)
def a_model_of_which_one_part_is_called(sick: bool) -> Program:
    torch.manual_seed(0)
    pair = Pair()
    pair.generator = net(Apply(normalized))
    optimizer = torch.optim.SGD(pair.generator.parameters(), lr=1e-3)
    return program(pair, lambda step: pair.generator(batch(step, sick)).square().mean(), optimizer)


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def a_model_that_is_left_in_eval_mode(sick: bool) -> Program:
    model = net(Apply(normalized), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(8, affine=False))).eval()
    return regression(model, sick)


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


def test_what_breaks_one_of_two_networks_is_told_of_the_other_as_broken_weights() -> None:
    scope, _ = watched_run(two_networks_that_compete(True))
    first, second = origins_of(scope)
    assert (first.phase, first.module) == ("forward", "critic.1")
    assert (second.phase, second.parameter) == ("parameter", "critic.0.weight")
    assert "whose gradients were finite" not in second.reason
