"""What modules hold in attributes, and parameters that a forward pass writes to, are left as they were."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Any

import gradscope
import numpy as np
import torch
from torch import Tensor, nn

from gradscope_torch.replay.rehearsal import rehearsal
from tests.adapters.torch.training import untroubled


class Keeping(nn.Module):
    """Changes everything that it holds, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.norm = nn.BatchNorm1d(3)
        self.mean = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.counts = {"calls": 0, "nested": {"seen": [0]}}
        self.values = [0]
        self.recent: deque[int] = deque(maxlen=9)
        self.names = {"a"}
        self.total = torch.zeros(1)
        self.array = np.zeros(2)
        self.stream = torch.Generator().manual_seed(0)
        self.generator = np.random.default_rng(0)
        self.python = random.Random(0)
        self._private: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.counts["calls"] += 1
        self.counts["nested"]["seen"].append(1)
        self.values[0] += 1
        self.recent.append(1)
        self.names.add("b")
        self.total += 1
        self.array += 1
        self._private.append(1)
        torch.rand(1, generator=self.stream)
        self.generator.normal()
        self.python.random()
        with torch.no_grad():
            self.mean.mul_(0.9).add_(x.nan_to_num().mean(0) + 1)
            self.layer.bias.clamp_(max=-2.0 - self.values[0])
        return self.layer(self.norm(x))


def held(model: Keeping) -> tuple[Any, ...]:
    """All that it holds now, as text."""
    drawn = torch.rand(1, generator=model.stream).item(), model.generator.normal(), model.python.random()
    tensors = [t.tolist() for t in (model.mean, model.layer.bias, model.total, *model.norm.buffers())]
    containers = model.counts, model.values, model.recent, model.names, model._private, model.array.tolist()
    return str(drawn), str(tensors), str([sorted(c) if isinstance(c, set) else c for c in containers])


def trained(watched: bool) -> tuple[Any, ...]:
    """What is held after one step with NaN in the batch."""
    torch.manual_seed(0)
    model = Keeping()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.ones(8, 3)
    x[0, 0] = math.nan
    if not watched:
        model(x).mean().backward()
        return held(model)
    with gradscope.watch(model, optimizer, on_nonfinite="skip") as scope:
        model(x).mean().backward()
        optimizer.step()
    assert "origin" in scope.histories[0].facts
    untroubled(scope)
    return held(model)


def test_everything_is_left_as_it_was() -> None:
    assert trained(True) == trained(False)


def test_an_attribute_that_comes_into_being_is_taken_away() -> None:
    model = Keeping()
    with rehearsal([model], []):
        model.later = 1
        model.values = [5]
    assert not hasattr(model, "later") and model.values == [0]


def test_a_buffer_of_nan_that_nobody_wrote_to_is_not_touched() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).eval()
    model[0].running_mean.fill_(math.nan)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    version = model[0].running_mean._version
    with gradscope.watch(model, optimizer) as scope:
        model(torch.randn(4, 3)).mean().backward()
        optimizer.step()
    assert "origin" in scope.histories[0].facts
    assert model[0].running_mean._version == version


def test_counts_of_writes_are_as_they_were() -> None:
    model = Keeping()
    tensors = [model.mean, model.layer.bias, model.layer.weight, model.total, *model.norm.buffers()]
    versions = [t._version for t in tensors]
    with rehearsal([model], []):
        model(torch.randn(4, 3)).mean().backward()
    assert [t._version for t in tensors] == versions
