"""Mixed precision: what a scaler scales, and the steps it skips."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.adapters.torch.training import (
    OBSERVERS,
    batches,
    mlp,
    names_of,
    observed,
    sgd,
    train,
    untroubled,
    watched,
)


def amp_loop(
    model: nn.Module, optimizer: Any, scaler: Any, steps: int, *, unscale: bool = False, size: float = 1.0
) -> None:
    """A loop under a gradient scaler."""
    for x, y in batches(steps):
        optimizer.zero_grad()
        loss = size * nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()


@OBSERVERS
@pytest.mark.parametrize("unscale", [False, True])
def test_first_steps_that_a_scaler_skips_are_benign(observer: str, unscale: bool) -> None:
    model = mlp()
    optimizer = sgd(model, lr=5e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-40)

    def loop() -> None:
        amp_loop(model, optimizer, scaler, 40, unscale=unscale, size=100)

    scope = observed(observer, model, optimizer, loop)
    report = untroubled(scope)
    skipped = scope.histories[0].run("skipped")
    assert 1 <= skipped.sum() <= 3
    assert skipped[-30:].sum() == 0
    assert not names_of(report) & {
        "non-finite-gradient",
        "non-finite-loss",
        "non-finite-parameter",
        "loss-scale-collapse",
    }


@OBSERVERS
def test_the_loss_under_a_scaler_is_the_unscaled_one(observer: str) -> None:
    plain, scaled = mlp(), mlp()
    expected = watched(plain, optimizer := sgd(plain), lambda: train(plain, optimizer, 5)).histories[0].run("loss")
    twin = sgd(scaled)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scope = observed(observer, scaled, twin, lambda: amp_loop(scaled, twin, scaler, 5))
    assert list(scope.histories[0].run("loss")) == pytest.approx(list(expected), rel=1e-5)
    assert list(scope.histories[0].run("loss_scale")) == [1024.0] * 5


@OBSERVERS
def test_gradients_under_a_scaler_are_measured_unscaled(observer: str) -> None:
    norms = []
    for scale in (1.0, 1024.0):
        model = mlp()
        optimizer = sgd(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scope = observed(observer, model, optimizer, lambda s=scaler, m=model, o=optimizer: amp_loop(m, o, s, 3))
        norms.append(scope.histories[0]["gradient"].column("gradient_norm").copy())
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@OBSERVERS
def test_an_overflow_that_persists_is_a_verdict(observer: str) -> None:
    model = mlp()
    model[0].weight.register_hook(lambda g: g * math.inf)
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu")
    scope = observed(observer, model, optimizer, lambda: amp_loop(model, optimizer, scaler, 40))
    report = untroubled(scope)
    assert list(scope.histories[0].run("skipped")) == [1] * 40
    assert "loss-scale-collapse" in names_of(report)


def overflow(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
    """The gradient that comes to this output overflows."""
    output.register_hook(lambda gradient: gradient * math.inf)


@OBSERVERS
@pytest.mark.parametrize(("at", "named"), [(0, ["0.weight"]), (3, ["3.weight", "0.weight"])])
def test_the_parameter_that_overflows_first_in_backward_is_named_first(
    observer: str, at: int, named: list[str]
) -> None:
    model = mlp()
    model[at].register_forward_hook(
        lambda _module, _args, output: output.register_hook(lambda g: g * math.inf) and None
    )
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu")
    scope = observed(observer, model, optimizer, lambda: amp_loop(model, optimizer, scaler, 40))
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "loss-scale-collapse")
    assert [e.parameter for e in verdict.evidence if (e.parameter or "").endswith("weight")] == named
    assert verdict.module == str(at)


@OBSERVERS
def test_bfloat16_autocast_is_observed(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.mse_loss(model(x).float(), y)
            loss.backward()
            optimizer.step()

    assert untroubled(observed(observer, model, optimizer, loop)).watched["steps"] == 6
