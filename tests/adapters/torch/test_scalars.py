"""Activations of scalars, as a learned gate has: one unit, and nothing else stops being seen for them."""

from __future__ import annotations

import torch
from gradscope import Scope
from torch import nn

from gradscope_torch.session import Session


class Gated(nn.Module):
    """A layer, times two gates of one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.gate = nn.Parameter(torch.tensor(0.3))
        self.valve = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x) * torch.sigmoid(self.gate) * torch.relu(self.valve))


def test_a_gate_of_one_number_is_an_activation_of_one_unit() -> None:
    scope = Scope()
    with Session(scope):
        model = Gated()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        nn.functional.mse_loss(model(torch.randn(8, 3)), torch.zeros(8, 2)).backward()
        optimizer.step()
    assert scope.failures == {}
    modules = scope.histories[0]["module"]
    units = {s.traits["activation"]: s.traits["units"] for s in modules.subjects if "activation" in s.traits}
    assert units == {"sigmoid": 1, "relu": 1, "tanh": 2}
