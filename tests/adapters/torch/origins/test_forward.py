"""Born in the forward pass: small networks with one layer that fails on one sample."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, WIDTH, Apply, batch, fits_or_not, net, regression
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


@plant("forward", "fault", "log", samples=(BAD,), module_class="Apply", inputs_finite=True, why=["0"], marked=True)
def logarithm_of_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: x.abs().log(), sick)  # planted


@plant("forward", "fault", "sqrt", samples=(BAD,), why=["negative"], marked=True)
def root_of_a_negative_number(sick: bool) -> Program:
    return fits_or_not(lambda x: torch.sqrt(1.1 - 2 * x.square().mean(-1, keepdim=True)) * x, sick, 1e3)  # planted


@plant("forward", "fault", "div", samples=(BAD,), why=["0"], marked=True)
def zero_by_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: x / x.abs().sum(-1, keepdim=True), sick)  # planted


@plant("forward", "fault", "div", "reciprocal", samples=(BAD,), marked=True)
def one_by_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: 1 / x.abs().sum(-1, keepdim=True) * torch.ones_like(x), sick)  # planted


@plant("forward", "fault", "pow", samples=(BAD,), marked=True)
def negative_power_of_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: x.abs() ** -0.1, sick)  # planted


@plant("forward", "0", "log1p", samples=(5,), features=(4,), count=1, marked=True)
def one_feature_of_one_sample(sick: bool) -> Program:
    torch.manual_seed(0)
    model = nn.Sequential(Apply(lambda x: x.log1p()), nn.Linear(WIDTH, 1))  # planted

    def loss(step: int) -> Tensor:
        x = batch(step, False).abs()
        x[5, 4] = -1.0 if sick and step == FAILS else 0.0
        return model(x).square().mean()

    return program(model, loss)


class RootMeanSquare(nn.Module):
    """RMS norm without eps."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean)  # planted


@plant("forward", "fault", "rsqrt", samples=(BAD,), module_class="RootMeanSquare", marked=True)
def rms_norm_without_eps(sick: bool) -> Program:
    return regression(net(RootMeanSquare()), sick)


@plant("forward", "fault", "exp", samples=(BAD,), why=["overflow", "3.4"], marked=True)
def exponential_overflows(sick: bool) -> Program:
    return regression(net(Apply(lambda x: x.exp()), nn.Identity()), sick, 1e4)  # planted


@plant("forward", "fault", "exp", samples=(BAD,), marked=True)
def log_sum_exp_by_hand(sick: bool) -> Program:
    fault = Apply(lambda x: x - x.exp().sum(-1, keepdim=True).log())  # planted
    return regression(net(fault, nn.Identity()), sick, 1e4)


@plant("forward", "fault", "atanh", samples=(BAD,))
def artanh_of_one(sick: bool) -> Program:
    return fits_or_not(torch.atanh, sick, 1e4)  # planted


@plant("forward", "fault", "log", samples=(BAD,), marked=True)
def log_det_of_a_saturated_tanh(sick: bool) -> Program:
    return fits_or_not(lambda x: (1 - x.square()).log(), sick, 1e4)  # planted


@plant("forward", "fault", "log1p", samples=(BAD,), marked=True)
def log1p_of_minus_one(sick: bool) -> Program:
    return fits_or_not(lambda x: torch.log1p(-x.abs()), sick, 1e4)  # planted


@plant("forward", "fault", "pow", "square", samples=(BAD,), marked=True)
def square_overflows(sick: bool) -> Program:
    return regression(net(Apply(lambda x: x.square()), nn.Identity()), sick, 1e30)  # planted


class Cosine(nn.Module):
    """Similarity to learned directions, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        length = (x * x).sum(-1, keepdim=True) * (self.directions**2).sum(-1)
        return x @ self.directions.t() / length  # planted


@plant("forward", "fault", "div", samples=(BAD,), module_class="Cosine", marked=True)
def cosine_of_a_zero_vector(sick: bool) -> Program:
    return regression(net(Cosine(), taken=4), sick)


class Degrees(nn.Module):
    """Symmetric normalisation of an adjacency matrix, D^-1/2 A D^-1/2."""

    def forward(self, adjacency: Tensor) -> Tensor:
        scale = adjacency.sum(-1).pow(-0.5)  # planted
        return scale[..., None] * adjacency * scale[..., None, :]


class Graph(nn.Module):
    """One graph convolution of a batch of graphs of 5 nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.degrees, self.mix, self.out = Degrees(), nn.Linear(WIDTH, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.out(torch.relu(self.degrees(adjacency) @ self.mix(x)))


@plant("forward", "degrees", "pow", samples=(BAD,), module_class="Degrees", why=["0"], marked=True)
def node_without_neighbours(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Graph()

    def loss(step: int) -> Tensor:
        adjacency = torch.ones(8, 5, 5)
        if sick and step == FAILS:
            adjacency[BAD, 1] = 0
        return model(batch(step, False, shape=(5, WIDTH)), adjacency).square().mean()

    return program(model, loss)


@plant("forward", "fault", "log", step=2, marked=True)
def gumbel_noise_of_one(sick: bool) -> Program:
    def noisy(x: Tensor) -> Tensor:
        uniform = (1 - torch.rand_like(x)).mul(100).ceil().div(100).clamp(max=1.0 if sick else 0.99)
        return (x - (-uniform.log()).log()).softmax(-1)  # planted

    return regression(net(Apply(noisy)), False)


class Mixture(nn.Module):
    """Two of three experts, weighed by rectified scores whose sum may be 0."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 3, bias=False)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores, chosen = (self.router(x).relu() + x.abs().sum(-1, keepdim=True)).topk(2)
        weights = scores / scores.sum(-1, keepdim=True)  # planted
        made = torch.stack([e(x) for e in self.experts], 1)
        return (weights[..., None] * made[torch.arange(len(x))[:, None], chosen]).sum(1)


@plant("forward", "fault", "div", samples=(BAD,), module_class="Mixture", marked=True)
def mixture_without_any_expert(sick: bool) -> Program:
    return regression(net(Mixture()), sick)


@plant("forward", "fault", "linear", step=0, why=["overflow", "3.4"])
def weights_so_large_that_a_product_overflows(sick: bool) -> Program:
    model = net(nn.Linear(8, 8))
    if sick:
        nn.init.constant_(model.fault.weight, 3e38)
    return regression(model, False)


@plant("forward", "fault", "layer_norm", samples=(BAD,), module_class="LayerNorm")
def layer_norm_without_eps(sick: bool) -> Program:
    return regression(net(nn.LayerNorm(8, eps=0.0 if sick else 1e-5)), True)


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


def test_who_passed_it_on_is_said_without_the_producer() -> None:
    assert named(next(p for p in TABLE if p.build is rms_norm_without_eps)).spread == ("head",)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.norm(dim=-1, keepdim=True) * x,
        lambda x: F.normalize(x, dim=-1),
        lambda x: x.std(-1, keepdim=True) * x,
        lambda x: torch.cdist(x, x),
        lambda x: F.cosine_similarity(x, x.flip(-1), dim=-1)[:, None] * x,
    ],
    ids=["norm", "normalize", "std", "cdist", "cosine-similarity"],
)
def test_what_is_defined_at_its_singular_point_is_no_origin(function) -> None:
    unharmed(Plant(lambda _: fits_or_not(function, True), "", None, ()))
