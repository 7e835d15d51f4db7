"""Fused optimizers under a gradient scaler: they take the scale away, and skip, inside of their own step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from gradscope import Scope
from torch import nn

from tests.adapters.torch.training import OBSERVERS, batches, mlp, names_of, observed, same, untroubled, weights_of

Build = Callable[[Any], torch.optim.Optimizer]
FUSED: dict[str, Build] = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2, fused=True),
}
EVERY = pytest.mark.parametrize("build", FUSED.values(), ids=FUSED)
SCALE = 1024.0


def loop(
    model: nn.Module,
    optimizer: Any,
    steps: int,
    *,
    scale: float = SCALE,
    overflow: Callable[[int], bool] = lambda _step: False,
    unscale: bool = False,
) -> None:
    """Trains under a scaler; the loss of some steps overflows."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    for step, (x, y) in enumerate(batches(steps)):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y) * (math.inf if overflow(step) else 1.0)
        scaler.scale(loss).backward()
        if unscale:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        scaler.step(optimizer)
        scaler.update()


def seen(observer: str, build: Build, steps: int = 6, **how: Any) -> tuple[Scope, nn.Module]:
    """(closed scope, model) of such a training."""
    model = mlp()
    optimizer = build(model.parameters())
    assert optimizer._step_supports_amp_scaling
    return observed(observer, model, optimizer, lambda: loop(model, optimizer, steps, **how)), model


@OBSERVERS
@EVERY
@pytest.mark.parametrize("unscale", [False, True], ids=["scaled", "unscaled by hand"])
def test_gradients_are_told_unscaled(observer: str, build: Build, unscale: bool) -> None:
    plain, scaled = (seen(observer, build, scale=s, unscale=unscale)[0].histories[0] for s in (1.0, SCALE))
    assert (plain["gradient"].column("gradient_norm") > 0).all()
    for table, quantity in (("gradient", "gradient_norm"), ("parameter", "gradient_abs_max")):
        assert scaled[table].column(quantity) == pytest.approx(plain[table].column(quantity), rel=1e-3)
    assert list(scaled.run("loss")) == pytest.approx(list(plain.run("loss")), rel=1e-3)
    assert list(scaled.run("loss_scale")) == [SCALE] * 6


@OBSERVERS
@EVERY
def test_a_skipped_step_counts_as_skipped_and_is_benign(observer: str, build: Build) -> None:
    scope, _ = seen(observer, build, 40, overflow=lambda step: step in {1, 4})
    history = scope.histories[0]
    assert list(np.flatnonzero(history.run("skipped"))) == [1, 4]
    moved = history["parameter"].column("update_norm")[list(history["parameter"].steps).index(4)]
    assert (moved == 0).all()
    assert not names_of(untroubled(scope)) & {"non-finite-gradient", "non-finite-loss", "loss-scale-collapse"}


@EVERY
def test_a_skipped_step_is_no_accident_that_ends_the_training(build: Build) -> None:
    model = mlp()
    optimizer = build(model.parameters())
    with gradscope.watch(model, optimizer, on_nonfinite="raise") as scope:
        loop(model, optimizer, 10, overflow=lambda step: step == 3)
    assert untroubled(scope).watched["steps"] == 10


@EVERY
def test_the_weights_are_the_same_bit_for_bit(build: Build) -> None:
    bare = mlp()
    loop(bare, build(bare.parameters()), 12, overflow=lambda step: step == 5)
    _, model = seen("watch", build, 12, overflow=lambda step: step == 5)
    assert same(weights_of(bare), weights_of(model))


@OBSERVERS
def test_an_overflow_that_persists_is_a_verdict_that_names_the_parameter(observer: str) -> None:
    model = mlp()
    model[3].weight.register_hook(lambda g: g * math.inf)
    optimizer = FUSED["adam"](model.parameters())
    scope = observed(observer, model, optimizer, lambda: loop(model, optimizer, 40, scale=65536.0))
    assert list(scope.histories[0].run("skipped")) == [1] * 40
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "loss-scale-collapse")
    assert verdict.module == "3"
    assert "3.weight" in {e.parameter for e in verdict.evidence}
    assert not {"0.weight", "0.bias", "3.bias"} & {e.parameter for e in verdict.evidence}
