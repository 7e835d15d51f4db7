"""Parts of networks that fail at singular points, and the data that brings them there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.adapters.torch.origins.planting import FAILS, Program, program

WIDTH = 6
BAD = 2
"""The sample of the failing batch that is bad."""


class Apply(nn.Module):
    """A layer without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def net(fault: nn.Module, activation: nn.Module | None = None, wide: int = 8, taken: int | None = None) -> nn.Module:
    """stem -> act -> fault -> head. A sample of zeros reaches the fault as zeros. taken: features that head takes."""
    torch.manual_seed(0)
    layers = OrderedDict(
        stem=nn.Linear(WIDTH, wide, bias=False),
        act=activation or nn.Tanh(),
        fault=fault,
        head=nn.Linear(taken or wide, 2),
    )
    return nn.Sequential(layers)


def samples(step: int, size: int = 8, shape: tuple[int, ...] = (WIDTH,)) -> Tensor:
    """The batch of a step, always the same."""
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(100 + step))


def batch(step: int, sick: bool, bad: float = 0.0, *, size: int = 8, shape: tuple[int, ...] = (WIDTH,)) -> Tensor:
    """The batch of a step; in the failing one, one sample is a constant."""
    x = samples(step, size, shape)
    if sick and step == FAILS:
        x[BAD] = bad
    return x


def regression(model: nn.Module, sick: bool, bad: float = 0.0, size: int = 8) -> Program:
    """A program that takes the mean square of what the model gives; in the failing batch one sample is constant."""
    return program(model, lambda step: model(batch(step, sick, bad, size=size)).square().mean())


def fits_or_not(fault: Callable[[Tensor], Tensor], sick: bool, bad: float = 0.0) -> Program:
    """A small network with a function in its middle that one sample is fatal for."""
    return regression(net(Apply(fault)), sick, bad)
