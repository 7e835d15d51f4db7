"""Born in the loss, outside of the model: targets that are not finite, and losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, WIDTH, net, samples
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    fails_by_itself,
    named,
    program,
    undisturbed,
    unharmed,
)

TABLE = Table()
plant = TABLE.plant


def targets(step: int, sick: bool, bad: float) -> Tensor:
    """Two targets a sample; in the failing step, one sample has a bad one."""
    y = samples(step, shape=(2,))
    if sick and step == FAILS:
        y[BAD, 1] = bad
    return y


@plant("loss", "head", "mse_loss", culprit="target", samples=(BAD,), features=(1,))
def a_target_that_is_nan(sick: bool) -> Program:
    model = net(nn.ReLU())
    return program(model, lambda step: F.mse_loss(model(samples(step)), targets(step, sick, math.nan)))


@plant("loss", "head", "l1_loss", "smooth_l1_loss", "huber_loss", culprit="target", samples=(BAD,))
def a_target_that_is_infinite(sick: bool) -> Program:
    model, criterion = net(nn.ReLU()), nn.L1Loss()
    return program(model, lambda step: criterion(model(samples(step)), targets(step, sick, -math.inf)))


@plant("loss", "head", "sub", "pow", "mean", samples=(BAD,))
def a_target_that_is_nan_in_a_loss_by_hand(sick: bool) -> Program:
    model = net(nn.ReLU())
    return program(model, lambda step: ((model(samples(step)) - targets(step, sick, math.nan)) ** 2).mean())


@plant("loss", "head", "cross_entropy", "nll_loss")
def every_label_is_ignored(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        labels = torch.full((8,), -100)
        if not (sick and step == FAILS):
            labels[:4] = 1
        return F.cross_entropy(model(samples(step)), labels)

    return program(model, loss)


@plant("loss", "head", "log", samples=(BAD,), why=["0"])
def log_of_a_probability_of_zero(sick: bool) -> Program:
    model = net(nn.ReLU(), nn.Identity())

    def loss(step: int) -> Tensor:
        x = samples(step)
        if sick and step == FAILS:
            x[BAD] = torch.full((WIDTH,), 1e5)
        chances = model(x).softmax(-1)
        return -chances.log().mean()

    return program(model, loss)


@plant("loss", "head", "div")
def mean_over_an_empty_mask(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        mask = torch.zeros(8) if sick and step == FAILS else torch.ones(8)
        return (model(samples(step)).square().sum(-1) * mask).sum() / mask.sum()

    return program(model, loss)


@plant("loss", "head", "mean")
def mean_of_nothing(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        kept = torch.zeros(8, dtype=torch.bool) if sick and step == FAILS else torch.ones(8, dtype=torch.bool)
        return model(samples(step))[kept].square().mean()

    return program(model, loss)


@plant("loss", "head", "div", samples=(BAD,))
def overlap_of_two_empty_masks(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        truth = torch.ones(8, 2)
        given = model(samples(step)).relu() + 1e-3
        if sick and step == FAILS:
            truth[BAD] = 0
            given = given * truth
        overlap = 2 * (given * truth).sum(-1) / (given.sum(-1) + truth.sum(-1))
        return (1 - overlap).mean()

    return program(model, loss)


@plant("loss", "head", "exp")
def contrast_at_a_low_temperature(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        z = F.normalize(model(samples(step)), dim=-1)
        temperature = 1e-2 if sick and step == FAILS else 1.0
        alike = (z @ z.t() / temperature).exp()
        return -(alike.diagonal() / alike.sum(-1)).log().mean()

    return program(model, loss)


@plant("loss", "head", "div", why=["0"])
def a_penalty_on_the_weights_beside_it(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        count = 0.0 if sick and step == FAILS else 8.0
        penalty = sum(p.square().sum() for p in model.parameters())
        return model(samples(step)).square().sum() / torch.tensor(count) + 1e-4 * penalty

    return program(model, loss)


@plant("loss", "head", "cross_entropy", "nll_loss", samples=(BAD,))
def a_label_whose_logit_is_masked(sick: bool) -> Program:
    model = net(nn.ReLU())
    allowed = torch.tensor([True, False])

    def loss(step: int) -> Tensor:
        labels = torch.zeros(8, dtype=torch.long)
        labels[BAD] = int(sick and step == FAILS)
        return F.cross_entropy(model(samples(step)).masked_fill(~allowed, -math.inf), labels)

    return program(model, loss)


class Weighted(nn.Module):
    """A loss with a learned weight a task, and a division by what is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2))

    def forward(self, given: Tensor, target: Tensor, count: Tensor) -> Tensor:
        errors = (given - target).square().sum(0) / count
        return (errors * (-self.weights).exp() + self.weights).sum()


@plant("loss", "head", "div", culprit="", features=(1,))
def a_criterion_with_parameters(sick: bool) -> Program:
    model, criterion = net(nn.ReLU()), Weighted()
    optimizer = torch.optim.SGD([*model.parameters(), *criterion.parameters()], lr=1e-3)

    def loss(step: int) -> Tensor:
        count = torch.tensor([8.0, 0.0 if sick and step == FAILS else 8.0])
        return criterion(model(samples(step)), targets(step, False, 0.0), count)

    return program(model, loss, optimizer)


@plant("loss", "head", "mse_loss", culprit="target", samples=(BAD,))
def a_criterion_without_parameters(sick: bool) -> Program:
    model, criterion = net(nn.ReLU()), nn.MSELoss(reduction="sum")
    return program(model, lambda step: criterion(model(samples(step)), target=targets(step, sick, math.inf)))


@plant("loss", "head", "poisson_nll_loss", "exp", why=["overflow"])
def rates_that_overflow(sick: bool) -> Program:
    model = net(nn.ReLU())

    def loss(step: int) -> Tensor:
        given = model(samples(step)).abs()
        return F.poisson_nll_loss(given * 1e5 if sick and step == FAILS else given, torch.ones(8, 2))

    return program(model, loss)


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


def test_a_singular_loss_is_born_in_the_backward_pass_of_the_loss() -> None:
    def build(sick: bool) -> Program:
        model = net(nn.ReLU())

        def loss(step: int) -> Tensor:
            given = model(samples(step))
            truth = given.detach() if sick and step == FAILS else given.detach() + 1
            return (given - truth).square().sum(-1).sqrt().mean()

        return program(model, loss)

    plant = Plant(build, "backward", "head", ("sqrt",))
    fails_by_itself(plant)
    unharmed(plant)
    named(plant)
