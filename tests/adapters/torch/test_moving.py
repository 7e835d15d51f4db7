"""Moving statistics of a normalization: named when they never move while their module trains, and only then."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from gradscope import Report
from torch import nn

from gradscope_torch.moving import Moving
from tests.adapters.torch.training import OBSERVERS, observed, sgd, train, untroubled


class ByHand(nn.Module):
    """Batch normalization whose moving averages are updated, or forgotten."""

    def __init__(self, features: int, *, updates: bool):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.updates = updates

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = x.mean(0), x.var(0)
            if self.updates:
                self.running_mean.lerp_(mean.detach(), 0.1)
                self.running_var = 0.9 * self.running_var + 0.1 * variance.detach()
        return self.gamma * (x - mean) / (variance + 1e-5).sqrt()


class Table(nn.Module):
    """A fixed table beside the weights, whose name claims nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positions", torch.zeros(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.positions


class Functional(nn.Module):
    """A network whose state is handed to it from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network(nn.BatchNorm1d(16))
        self.state = {name: b.clone() for name, b in self.inner.named_buffers()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = dict(self.inner.named_parameters()) | self.state
        return torch.func.functional_call(self.inner, given, (x,))


def network(middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), middle, nn.ReLU(), nn.Linear(16, 1))


def unmoved(report: Report) -> list[str | None]:
    """What is named as unchanged."""
    return [e.parameter for v in report.verdicts if v.name == "unchanged-parameter" for e in v.evidence]


def trained(model: nn.Module, observer: str) -> Report:
    optimizer = sgd(model)
    return untroubled(observed(observer, model, optimizer, lambda: train(model, optimizer, 20)))


@OBSERVERS
@pytest.mark.parametrize(
    "middle",
    [lambda: ByHand(16, updates=False), lambda: nn.BatchNorm1d(16, momentum=0.0)],
    ids=["forgotten by hand", "momentum of zero"],
)
def test_statistics_that_never_move_in_training_are_named(observer: str, middle: Callable[[], nn.Module]) -> None:
    report = trained(network(middle()), observer)
    assert unmoved(report) == ["1.running_mean", "1.running_var"]
    (verdict,) = [v for v in report.verdicts if v.name == "unchanged-parameter"]
    assert (verdict.severity, verdict.module) == ("warning", "1")
    assert verdict.remedies[0].title == "update the moving statistics in every training step"


@OBSERVERS
@pytest.mark.parametrize(
    "middle",
    [
        lambda: ByHand(16, updates=True),
        lambda: nn.BatchNorm1d(16),
        lambda: nn.BatchNorm1d(16, track_running_stats=False),
        lambda: nn.BatchNorm1d(16).eval(),
        Table,
    ],
    ids=["by hand", "the framework's", "without statistics", "frozen", "a table"],
)
def test_what_moves_or_is_not_to_move_is_not_named(observer: str, middle: Callable[[], nn.Module]) -> None:
    assert unmoved(trained(network(middle()), observer)) == []


@OBSERVERS
def test_units_that_are_always_zero_leave_their_mean_at_zero(observer: str) -> None:
    model = network(nn.Sequential(nn.Threshold(1e9, 0.0), nn.BatchNorm1d(16)))
    assert unmoved(trained(model, observer)) == []
    assert bool((model[1][1].running_mean == 0).all())


def test_buffers_that_are_handed_in_from_outside_are_not_judged() -> None:
    assert unmoved(trained(Functional(), "session")) == []


def test_the_observation_keeps_no_module_alive() -> None:
    moving, module = Moving(), nn.BatchNorm1d(4)
    moving.ran(module)
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None
