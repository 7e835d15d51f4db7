"""Tensors that share a storage: which of them was broken, and which operation broke it."""

from __future__ import annotations

import math
from collections.abc import Callable

import gradscope
import pytest
import torch
from gradscope import Origin
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope_torch.replay.memory import Memory, covers, overlap
from gradscope_torch.replay.values import BAD, is_mask
from tests.adapters.torch.origins.planting import Program, origin_of, program, watched_run


def told(model: nn.Module, *given: object) -> Origin:
    """The origin of a step whose loss is the mean of what the model gives."""
    return origin(program(model, lambda _: model(*given).mean()))


def origin(trained: Program) -> Origin:
    """That of the first step, which fails."""
    found = origin_of(watched_run(trained, 1)[0])
    assert found is not None
    return found


def test_of_two_views_of_a_table_the_one_that_is_broken_is_told() -> None:
    data = torch.randn(8, 5)
    data[3, 4] = math.inf
    model = nn.Linear(4, 1)
    found = origin(program(model, lambda _: F.l1_loss(model(data[:, :4])[:, 0], data[:, 4])))
    assert (found.phase, found.culprit, found.samples, found.count) == ("loss", "target", (3,), 1)


def test_of_parameters_in_one_vector_the_one_that_is_broken_is_told() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    vector = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    vector[-1] = math.nan
    nn.utils.vector_to_parameters(vector, model.parameters())
    found = told(model, torch.randn(8, 3))
    assert (found.phase, found.parameter, found.count) == ("parameter", "2.bias", 1)


class Slots(nn.Module):
    """Writes two results into one tensor, and returns the first or all."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        held = x.new_zeros(2, *x.shape)
        if self.whole:
            held[0] = torch.log(-self.layer(x).abs() - 1)
            held[1] = torch.sqrt(-self.layer(x).abs() - 1)
            return held.sum(1)
        held[0] = self.layer(x) / 0.0
        held[1] = torch.acos(self.layer(x) * 0 + 2)
        return held[0]


@pytest.mark.parametrize(("whole", "op"), [(True, "log"), (False, "div")])
def test_the_slice_that_leads_to_the_loss_is_told(whole: bool, op: str) -> None:
    assert told(Slots(whole=whole), torch.randn(4, 3)).op == op


class Halves(nn.Module):
    """Breaks both halves of its features in place, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        both = self.layer(x)
        left, right = both[:, :3], both[:, 3:]
        left.mul_(0).log_()
        right.mul_(0).sub_(1).sqrt_()
        return both.sum(1)


def test_of_two_views_broken_in_place_the_first_is_told() -> None:
    assert told(Halves(), torch.randn(4, 3)).op == "log"


class Centered(nn.Module):
    """Scales its features before the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer((x - 0.5) * 2)


def test_a_feature_of_minus_infinity_that_is_scaled_first_is_no_mask() -> None:
    x = torch.randn(8, 3)
    x[2, 1] = -math.inf
    found = told(Centered(), x)
    assert (found.phase, found.culprit, found.samples, found.features) == ("input", "x", (2,), (1,))


class Masked(nn.Module):
    """Attention whose mask is scaled before it is added, and whose values are divided by 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = (self.layer(x) @ x.T + mask * 2.0).softmax(-1)
        return weights / 0.0


def test_a_mask_that_is_scaled_before_it_is_added_is_a_mask() -> None:
    mask = torch.full((4, 4), -math.inf).triu(1)
    found = told(Masked(), torch.randn(4, 4), mask)
    assert (found.phase, found.op) == ("forward", "div")


class Spectrum(nn.Module):
    """Takes complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.fft.ifft(x).real)


def test_infinity_among_complex_numbers_is_the_inputs() -> None:
    x = torch.randn(8, 4, dtype=torch.complex64)
    x[1, 1] = complex(math.inf, 0)
    found = told(Spectrum(), x)
    assert (found.phase, found.samples, found.features) == ("input", (1,), (1,))
    assert not is_mask(x)


def test_a_later_write_replaces_those_that_it_covers() -> None:
    held = torch.zeros(4, 6)
    memory = Memory()
    memory.wrote(held[:, :3], BAD, 0)
    memory.wrote(held[:, 3:], BAD, 1)
    assert [w.at for w in memory.of(held)] == [0, 1]
    assert [w.at for w in memory.of(held[:, 4])] == [1]
    memory.wrote(held[:, :4], BAD, 2)
    assert [w.at for w in memory.of(held)] == [1, 2]
    memory.forget(held)
    assert memory.of(held) == []


def test_views_overlap_by_elements() -> None:
    held = torch.zeros(4, 6)
    assert not overlap(held[:, ::2], held[:, 1::2])
    assert overlap(held[:, ::2], held[1])
    assert covers(held, held[:, 1]) and not covers(held[:, 1], held)
    assert covers(held.T, held)


def written_through_a_view(model: nn.Module) -> Tensor:
    """A column of the output becomes its logarithm in place, before the mean of all."""
    out = model(torch.randn(8, 3))
    column = out[:, 0]
    column.mul_(0)
    column.log_()
    return out.mean()


def narrowed_and_assigned(model: nn.Module) -> Tensor:
    """A part of the output is assigned to."""
    out = model(torch.randn(8, 3))
    left = out.narrow(1, 0, 1)
    left[:] = torch.log(out[:, 1:] * 0)
    return out.mean()


@pytest.mark.parametrize("loss", [written_through_a_view, narrowed_and_assigned])
def test_what_is_written_through_a_view_outside_of_the_model_leads_to_the_loss(loss: Callable[..., Tensor]) -> None:
    model = nn.Linear(3, 2)
    found = origin(program(model, lambda _: loss(model)))
    assert (found.phase, found.op) == ("loss", "log")


def test_a_target_that_is_written_to_after_the_loss_tells_no_samples() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.randn(8, 1)
    target[2] = math.nan
    with gradscope.watch(model, optimizer) as scope:
        F.mse_loss(model(torch.randn(8, 3)), target).backward()
        target.zero_()
        target[5] = math.inf
        optimizer.step()
    found = origin_of(scope)
    assert found is not None
    assert (found.phase, found.samples) == ("loss", ())
    assert "what mse_loss was given was written to since" in found.reason
