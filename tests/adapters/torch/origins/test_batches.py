"""Which dimension of what a model was given counts the samples."""

from __future__ import annotations

import math

import torch
from gradscope import Origin
from torch import Tensor, nn

from tests.adapters.torch.origins.planting import origin_of, program, watched_run


def told(model: nn.Module, *given: Tensor) -> Origin:
    """The origin of a step whose loss is the mean of what the model gives."""
    found = origin_of(watched_run(program(model, lambda _: model(*given).mean()), 1)[0])
    assert found is not None
    return found


class Sequences(nn.Module):
    """A recurrent network with a gate that closes at some place."""

    def __init__(self, gate: Tensor, *, swapped: bool = False) -> None:
        super().__init__()
        self.layer = nn.LSTM(3, 4)
        self.out = nn.Linear(4, 1)
        self.gate = gate
        self.swapped = swapped

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if self.swapped else x
        return torch.log(self.out(self.layer(x)[0]).abs() * self.gate)


def gate(*shape: int) -> Tensor:
    """Closed for sample 2 at time 3."""
    found = torch.ones(*shape, 1)
    found[3, 2] = 0
    return found


def test_a_recurrent_layer_tells_that_time_comes_first() -> None:
    assert told(Sequences(gate(6, 4)), torch.randn(6, 4, 3)).samples == (2,)
    x = torch.randn(6, 4, 3)
    x[3, 2, 1] = math.nan
    found = told(Sequences(torch.ones(6, 4, 1)), x)
    assert (found.phase, found.samples, found.features) == ("input", (2,), (1,))


def test_samples_come_first_where_the_model_swaps_them_with_time() -> None:
    assert told(Sequences(gate(6, 4), swapped=True), torch.randn(4, 6, 3)).samples == (2,)


def test_no_samples_are_told_where_there_are_as_many_of_them_as_of_times() -> None:
    x = torch.randn(4, 4, 3)
    x[3, 2, 1] = math.nan
    assert told(Sequences(torch.ones(4, 4, 1)), x).samples == ()


class Flattened(Sequences):
    """Times and samples in one dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.out(self.layer(x)[0]).abs().flatten() * self.gate.flatten())


def test_samples_are_told_of_times_and_samples_in_one_dimension() -> None:
    assert told(Flattened(gate(6, 4)), torch.randn(6, 4, 3)).samples == (2,)


class Graph(nn.Module):
    """Takes the edges before the nodes, or a table of another length."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 1)

    def forward(self, other: Tensor, x: Tensor) -> Tensor:
        return torch.log(self.out(x).abs() * (torch.arange(10) != 7)[:, None])


def test_the_edges_of_a_graph_are_no_batch() -> None:
    assert told(Graph(), torch.zeros(2, 20, dtype=torch.long), torch.randn(10, 3)).samples == (7,)


def test_no_samples_are_told_where_arguments_differ_in_length() -> None:
    assert told(Graph(), torch.randn(5, 3), torch.randn(10, 3)).samples == ()
