"""Born before the model: in the batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import WIDTH, net, samples
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


def spoiled(step: int, sick: bool, value: float = math.nan, *, where: object = (17, 4), size: int = 32) -> Tensor:
    """A batch of 32 with a value of its own somewhere, in the failing step."""
    x = samples(step, size)
    if sick and step == FAILS:
        x[where] = value
    return x


@plant("input", None, samples=(17,), features=(4,), count=1)
def one_value_of_one_sample_of_32(sick: bool) -> Program:
    model = net(nn.ReLU())
    return program(model, lambda step: model(spoiled(step, sick)).square().mean())


@plant("input", None, samples=(17,), features=(4,))
def an_infinite_value(sick: bool) -> Program:
    model = net(nn.ReLU(), nn.Tanh())
    return program(model, lambda step: model(spoiled(step, sick, math.inf)).square().mean())


@plant("input", None, samples=tuple(range(32)), features=(4,))
def a_column_that_is_missing(sick: bool) -> Program:
    model = net(nn.ReLU())
    return program(model, lambda step: model(spoiled(step, sick, where=(slice(None), 4))).square().mean())


@plant("input", None, samples=(3, 9), features=tuple(range(WIDTH)), count=2 * WIDTH)
def two_samples(sick: bool) -> Program:
    model = net(nn.ReLU())
    return program(model, lambda step: model(spoiled(step, sick, where=[3, 9])).square().mean())


class Named(nn.Module):
    """Takes a batch as people name it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(WIDTH, 8), nn.Linear(8, 1)

    def forward(self, ids: Tensor, pixel_values: Tensor, *, weights: Tensor | None = None) -> Tensor:
        out = self.out(self.hidden(pixel_values).relu()) * ids[:, None]
        return out if weights is None else out * weights[:, None]


@plant("input", None, culprit="pixel_values", samples=(17,), features=(4,))
def a_keyword_argument(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Named()
    ids = torch.ones(32, dtype=torch.long)
    return program(model, lambda step: model(ids, pixel_values=spoiled(step, sick)).square().mean())


@plant("input", None, culprit="pixel_values", samples=(17,))
def an_argument_in_its_place(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Named()
    ids = torch.ones(32, dtype=torch.long)
    return program(model, lambda step: model(ids, spoiled(step, sick)).square().mean())


@plant("input", None, culprit="weights", samples=(17,))
def weights_of_the_samples(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Named()
    ids = torch.ones(32, dtype=torch.long)

    def loss(step: int) -> Tensor:
        weights = spoiled(step, sick).abs()[:, 4]
        return model(ids, samples(step, 32), weights=weights).square().mean()

    return program(model, loss)


class Gathered(nn.Module):
    """Takes a dict of lists, as collators make them."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, batch: dict[str, list[Tensor]]) -> Tensor:
        return self.out(torch.cat(batch["views"], 0))


@plant("input", None, samples=(17,), features=(4,))
def a_tensor_within_a_dict_within_a_list(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Gathered()
    return program(model, lambda step: model({"views": [samples(step), spoiled(step, sick)]}).square().mean())


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


class Tolerant(nn.Module):
    """Takes scores of which some are missing, and knows."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, scores: Tensor) -> Tensor:
        return (self.out(x) * torch.where(scores.isfinite(), scores, 0.0)).tanh()


@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
@pytest.mark.parametrize("sick", [False, True])
def test_an_argument_that_the_model_masks_is_no_origin_and_hides_none(value: float, sick: bool) -> None:
    def build(_sick: bool) -> Program:
        torch.manual_seed(0)
        model = Tolerant()
        scores = spoiled(FAILS, True, value)
        return program(model, lambda step: model(spoiled(step, sick), scores).square().mean())

    plant = Plant(build, "input", None, (), rest={"culprit": "x", "samples": (17,), "features": (4,)})
    if sick:
        named(plant)
    else:
        unharmed(plant)
