"""Networks as people build them, each with one fault in its middle: images, sequences, a VAE, a mixture of experts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, WIDTH, batch, samples
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
IMAGE = (1, 8, 8)


class Convolutional(nn.Module):
    """Two convolutions with batch normalization, and a head."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.first, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, eps=eps)
        self.second, self.head = nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.bn(self.first(x).relu()).relu()).mean((2, 3)))


def images(model: nn.Module, sick: bool) -> Program:
    """The mean square of what a model, which does not move, makes of images, one of which may be empty."""
    return program(model, lambda step: model(batch(step, sick, shape=IMAGE)).square().mean(), frozen(model))


@plant("forward", "bn", "batch_norm", step=0, module_class="BatchNorm2d")
def a_dead_channel_without_eps(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Convolutional(1e-80 if sick else 1e-5)
    nn.init.constant_(model.first.bias[1:2].detach(), -100)
    return images(model, False)


@plant("forward", "second", "conv2d", why=["overflow"], samples=(BAD,))
def a_convolution_that_overflows(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Convolutional(1e-5)
    model.bn = nn.Identity()
    with torch.no_grad():
        model.second.weight.mul_(1e20)
    return program(model, lambda step: 1e-20 * model(batch(step, sick, 1e20, shape=IMAGE)).abs().mean(), frozen(model))


def frozen(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that moves nothing."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


class Level(nn.Module):
    """A convolution, a normalization over groups, and ReLU."""

    def __init__(self, given: int, made: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, made, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(2, made, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


class UNet(nn.Module):
    """Down, through the bottleneck, up again, with the input of a level beside its output."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.down, self.bottleneck, self.up = Level(1, 4, 1e-5), Level(4, 8, eps), Level(12, 4, 1e-5)
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.bottleneck(F.max_pool2d(fine, 2))
        return self.out(self.up(torch.cat([fine, F.interpolate(coarse, scale_factor=2)], 1)))


@plant("forward", "bottleneck.norm", "group_norm", samples=(BAD,), passed=("up.conv", "up.norm", "out"))
def an_empty_image_in_a_unet(sick: bool) -> Program:
    torch.manual_seed(0)
    return images(UNet(0.0 if sick else 1e-5), True)


class Pool(nn.Module):
    """The mean of the steps that are no padding."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # planted


class Sentences(nn.Module):
    """Embedding, LSTM, pooling, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(20, WIDTH, padding_idx=0), nn.LSTM(WIDTH, 8, 2, batch_first=True)
        self.pool, self.head = Pool(), nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(ids))
        return self.head(self.pool(states, (ids != 0).float()))


def words(step: int, sick: bool) -> Tensor:
    """(samples, words) of ids; a bad sentence has padding only."""
    ids = torch.randint(1, 20, (8, 6), generator=torch.Generator().manual_seed(step))
    if sick and step == FAILS:
        ids[BAD] = 0
    return ids


@plant("forward", "pool", "div", samples=(BAD,), module_class="Pool", why=["0"], marked=True, passed=("head",))
def an_empty_sentence_after_an_lstm(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Sentences()
    labels = torch.arange(8) % 2
    return program(model, lambda step: F.cross_entropy(model(words(step, sick)), labels))


@plant("forward", "lstm", "lstm", step=0, module_class="LSTM")
def an_lstm_whose_gates_overflow(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Sentences()
    if sick:
        nn.init.constant_(model.lstm.weight_ih_l0, 3e38)
        nn.init.constant_(model.lstm.weight_hh_l0, -3e38)
    return program(model, lambda step: model(words(step, False)).square().mean())


class Variational(nn.Module):
    """An autoencoder that draws its code."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, 4), nn.Linear(2, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(x).chunk(2, -1)
        deviation = (logvar / 2).exp()  # planted
        return self.decoder(mean + deviation * torch.randn_like(mean)), mean, logvar


@plant("forward", "", "exp", samples=(BAD,), why=["overflow"], module_class="Variational", marked=True)
def a_variance_that_overflows(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Variational()

    def loss(step: int) -> Tensor:
        x = batch(step, sick, -1e4)
        made, mean, logvar = model(x)
        divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp()).mean()
        return F.mse_loss(made, x) + divergence

    return program(model, loss)


@plant("loss", "encoder", "exp", why=["overflow"], samples=(BAD,))
def a_divergence_that_overflows(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Variational()

    def loss(step: int) -> Tensor:
        x = samples(step)
        made, mean, logvar = model(x)
        scale = torch.ones(8, 1)
        if sick and step == FAILS:
            scale[BAD] = 1e5
        divergence = (logvar.abs() * scale).exp() - mean.square()  # planted
        return F.mse_loss(made, x) + divergence.mean()

    return program(model, loss)


class Experts(nn.Module):
    """Experts behind a router whose weights are made to sum to one."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.router, self.gate = nn.Linear(WIDTH, 3, bias=False), gate
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.router(x)
        weights = scores.relu() if self.gate == "relu" else scores.softmax(-1)
        weights, chosen = weights.topk(2)
        weights = weights / weights.sum(-1, keepdim=True)  # planted
        made = torch.stack([e(x) for e in self.experts], 1)
        return (weights[..., None] * made.gather(1, chosen[..., None].expand(-1, -1, 2))).sum(1)


@plant("forward", "", "div", step=0, module_class="Experts", marked=True)
def a_router_that_chooses_nobody(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Experts("relu" if sick else "softmax")
    return program(model, lambda step: model(samples(step, 64)).square().mean())


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
