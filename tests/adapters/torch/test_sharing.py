"""Checkpointing, and parameters that are shared, listed, frozen, forgotten or copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.adapters.torch.training import (
    OBSERVERS,
    in_session,
    mlp,
    names_of,
    observed,
    sgd,
    subjects,
    train,
    untroubled,
)


class Checkpointed(nn.Module):
    """Two blocks, each run through activation checkpointing or not."""

    def __init__(self, reentrant: bool | None):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2)])
        self.out = nn.Linear(4, 1)
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> Any:
        x = x.clone().requires_grad_()
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
        return self.out(x)


@OBSERVERS
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_changes_no_gradient_and_notes_no_module_twice(observer: str, reentrant: bool) -> None:
    scopes = []
    for mode in (None, reentrant):
        model = Checkpointed(mode)
        optimizer = sgd(model)
        scope = observed(observer, model, optimizer, lambda m=model, o=optimizer: train(m, o, 5))
        untroubled(scope)
        scopes.append(scope)
    plain, recomputed = (s.histories[0]["gradient"].column("gradient_norm") for s in scopes)
    assert np.array_equal(plain, recomputed)
    assert set(subjects(scopes[1], "module")) <= set(subjects(scopes[0], "module"))


class Tied(nn.Module):
    """An embedding whose weight is that of the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.out(self.embed(tokens))


@OBSERVERS
def test_a_shared_parameter_is_one_subject(observer: str) -> None:
    model = Tied()
    optimizer = sgd(model)

    def loop() -> None:
        for _ in range(5):
            tokens = torch.arange(11)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(tokens), tokens).backward()
            optimizer.step()

    scope = observed(observer, model, optimizer, loop)
    untroubled(scope)
    assert subjects(scope) == ["embed.weight"]


class Listed(nn.Module):
    """Layers in a plain list, which torch does not register."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4) for _ in range(2)]
        self.out = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> Any:
        for layer in self.layers:
            x = layer(x).relu()
        return self.out(x)


def test_modules_in_a_python_list_get_a_name() -> None:
    model = Listed()
    scope = in_session(lambda: train(model, sgd(model), 6))
    found = {s.name: s.traits["optimized"] for s in scope.histories[0]["gradient"].subjects}
    assert found == {
        "out.weight": True,
        "out.bias": True,
        "layers.0.weight": False,
        "layers.0.bias": False,
        "layers.1.weight": False,
        "layers.1.bias": False,
    }


def test_modules_in_a_python_list_are_a_verdict() -> None:
    model = Listed()
    report = untroubled(in_session(lambda: train(model, sgd(model), 12)))
    verdict = next(v for v in report.verdicts if v.name == "unchanged-parameter")
    assert verdict.module == "layers.0"


@OBSERVERS
def test_parameters_in_no_optimizer_are_known_and_judged(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model[3])
    scope = observed(observer, model, optimizer, lambda: train(model, optimizer, 12))
    report = untroubled(scope)
    found = {s.name: s.traits["optimized"] for s in scope.histories[0]["gradient"].subjects}
    assert found == {"3.weight": True, "3.bias": True, "0.weight": False, "0.bias": False}
    assert "unchanged-parameter" in names_of(report)


@OBSERVERS
def test_frozen_parameters_are_no_verdict(observer: str) -> None:
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    report = untroubled(observed(observer, model, optimizer, lambda: train(model, optimizer, 12)))
    assert not names_of(report) & {"unchanged-parameter", "missing-gradient"}


@OBSERVERS
def test_a_stale_copy_in_the_optimizer_is_a_verdict(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    model[3] = nn.Linear(16, 1)
    scope = observed(observer, model, optimizer, lambda: train(model, optimizer, 12))
    report = untroubled(scope)
    traits = {s.name: s.traits for s in scope.histories[0]["gradient"].subjects}
    assert not traits["3.weight"]["optimized"]
    assert [t["reachable"] for t in traits.values() if t["optimized"]] == [True, True, False, False]
    assert names_of(report) & {"unchanged-parameter", "missing-gradient"}


@OBSERVERS
def test_a_model_moved_to_new_parameters_after_the_optimizer_was_made_is_a_verdict(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    for module in model:
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().clone())
    report = untroubled(observed(observer, model, optimizer, lambda: train(model, optimizer, 12)))
    assert names_of(report) & {"unchanged-parameter", "missing-gradient"}
