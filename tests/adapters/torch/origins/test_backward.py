"""Born in the backward pass: what is finite forwards, and whose gradient is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
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


@plant("backward", "fault", "sqrt", parameter="stem.weight", inputs_finite=True, marked=True, why=["0"])
def root_at_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: x.square().sum(-1, keepdim=True).sqrt() * x, sick)  # planted


@plant("backward", "fault", "pow", samples=(BAD,), parameter="stem.weight", marked=True)
def fractional_power_at_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: x.abs() ** 0.5, sick)  # planted


@plant("backward", "fault", "sqrt", marked=True)
def deviation_of_a_constant_by_hand(sick: bool) -> Program:
    return fits_or_not(lambda x: x.var(-1, keepdim=True).sqrt() * x, sick)  # planted


@plant("backward", "fault", "log", marked=True)
def where_hides_a_logarithm(sick: bool) -> Program:
    return fits_or_not(lambda x: torch.where(x != 0, x.abs().log().clamp(-9), 0.0), sick)  # planted


@plant("backward", "fault", "log", samples=(BAD,), why=["0"], marked=True)
def a_clamp_hides_a_logarithm(sick: bool) -> Program:
    return fits_or_not(lambda x: x.abs().log().clamp(min=-1e4), sick)  # planted


@plant("backward", "fault", "sqrt", marked=True)
def where_hides_a_root(sick: bool) -> Program:
    return fits_or_not(lambda x: torch.where(x != 0, x.abs().sqrt(), 0.0), sick)  # planted


@plant("backward", "fault", "div", marked=True)
def where_hides_a_quotient(sick: bool) -> Program:
    return fits_or_not(lambda x: torch.where(x != 0, x.sin() / x, 1.0), sick)  # planted


@plant("backward", "fault", "acos", "arccos", samples=(BAD,), marked=True)
def angle_of_parallel_vectors(sick: bool) -> Program:
    return fits_or_not(lambda x: x.acos(), sick, 1e4)  # planted


@plant("backward", "fault", "xlogy", samples=(BAD,), marked=True)
def entropy_at_zero(sick: bool) -> Program:
    return fits_or_not(lambda x: torch.xlogy(x.abs(), x.abs()), sick)  # planted


@plant("backward", "fault", "div", samples=(BAD,), marked=True)
def quotient_of_denormal_numbers(sick: bool) -> Program:
    fault = Apply(lambda x: x / x.abs().sum(-1, keepdim=True))  # planted
    return regression(net(fault, nn.Identity()), sick, 1e-41)


@plant("backward", "fault", "exp", samples=(BAD,), why=["overflow"], marked=True)
def gradient_of_a_large_exponential_overflows(sick: bool) -> Program:
    def difference(x: Tensor) -> Tensor:
        grown = (80 * x**8).exp()  # planted
        return 1e10 * (grown - grown.flip(-1))

    model = net(Apply(difference))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return program(model, lambda step: model(batch(step, sick, 1e6)).mean(), optimizer)


@plant("backward", "fault", "eigh", "linalg_eigh", marked=True)
def eigenvectors_of_equal_eigenvalues(sick: bool) -> Program:
    def vectors(x: Tensor) -> Tensor:
        return (x[:, None] @ torch.linalg.eigh(torch.diag_embed(x.square()))[1])[:, 0]  # planted

    return regression(net(Apply(vectors)), sick)


class Straight(torch.autograd.Function):
    """A step function whose backward divides by what may be 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return gradient * x.abs() / x.abs()


@plant("backward", "fault", "straight", "Straight", samples=(BAD,), parameter="stem.weight")
def a_function_of_ones_own(sick: bool) -> Program:
    return fits_or_not(Straight.apply, sick)


class Hooked(nn.Module):
    """A hook that rescales the gradient of its own norm."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        if x.requires_grad:
            zeros = x.detach().abs().sum(-1, keepdim=True)
            x.register_hook(lambda g: g / zeros)
        return x.sin()


@plant("backward", "fault", samples=(BAD,), module_class="Hooked", parameter="stem.weight")
def a_hook_on_a_tensor(sick: bool) -> Program:
    return regression(net(Hooked()), sick)


class Unrolled(nn.Module):
    """A recurrent network by hand, with a gain that only the zero state survives."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.cell = nn.Linear(8, 8, bias=False)
        nn.init.eye_(self.cell.weight).data.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(30):
            x = self.cell(x).tanh()
        return x


@plant("backward", "fault.cell", "linear", "matmul", step=0, why=["overflow"])
def gradient_explodes_through_time(sick: bool) -> Program:
    model = net(Unrolled(100.0 if sick else 1.0))
    return program(model, lambda step: model(torch.zeros(8, WIDTH)).sum())


@plant("backward", "fault", "prod", "pow", marked=True)
def geometric_mean_of_zeros(sick: bool) -> Program:
    return fits_or_not(lambda x: x * x.abs().prod(-1, keepdim=True).pow(1 / 8), sick)  # planted


class Twins(nn.Module):
    """The distance of two encodings, as siamese networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(WIDTH, 4)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.encoder(a) - self.encoder(b)).pow(2).sum(-1).sqrt()  # planted


@plant("backward", "", "sqrt", samples=(BAD,), module_class="Twins", marked=True)
def distance_of_a_thing_to_itself(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Twins()

    def loss(step: int) -> Tensor:
        a, b = batch(step, False), batch(step + 50, False)
        if sick and step == FAILS:
            b[BAD] = a[BAD]
        return model(a, b).mean()

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
