"""Gradients that get lost in float16, in real programs: those that train all the same, and those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gradscope import Report, Scope
from gradscope.verdict import Severity
from torch import nn

from tests.adapters.torch.training import OBSERVERS, names_of, observed, same, untroubled, watched, weights_of

QUANTITY = "gradient_underflow_fraction"


def network(depth: int = 4) -> nn.Sequential:
    """A classifier of 32 inputs and 10 classes."""
    torch.manual_seed(0)
    hidden = [layer for _ in range(depth - 2) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), *hidden, nn.Linear(64, 10))


def data(steps: int) -> Any:
    """Inputs, and the largest of ten linear functions of them."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(32, 10, generator=generator)
    for _ in range(steps):
        x = torch.randn(64, 32, generator=generator)
        yield x, (x @ weights).argmax(1)


def train(
    model: nn.Module,
    optimizer: Any,
    *,
    factor: float = 1.0,
    scale: float | None = None,
    autocast: bool = True,
    steps: int = 60,
    clip: float | None = None,
    parts: int = 1,
) -> None:
    """Trains in float16, by autocast or with a model in it, on a loss of a given size, scaled or not, in parts."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    half = next(model.parameters()).dtype
    for x, y in data(steps):
        optimizer.zero_grad()
        for given, wanted in zip(x.chunk(parts), y.chunk(parts), strict=True):
            with torch.autocast("cpu", dtype=torch.float16, enabled=autocast):
                out = model(given.to(half))
            scaler.scale(factor * nn.functional.cross_entropy(out.float(), wanted) / parts).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()


def adam(model: nn.Module) -> torch.optim.Adam:
    """Adam, whose steps do not depend on the size of the gradient."""
    return torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-12)


def seen(model: nn.Module, optimizer: Any, **how: Any) -> tuple[Scope, Report]:
    """(scope, report) of such a training under watch()."""
    scope = watched(model, optimizer, lambda: train(model, optimizer, **how))
    return scope, untroubled(scope)


def underflow(scope: Scope) -> Any:
    """The fraction of each weight matrix in the first step."""
    table = scope.histories[0]["parameter"]
    return table.column(QUANTITY)[0][[s.traits["matrix"] for s in table.subjects]]


@OBSERVERS
@pytest.mark.parametrize("scale", [None, 65536.0])
def test_a_network_that_trains_soundly_under_autocast_shows_nothing(observer: str, scale: float | None) -> None:
    model = network()
    optimizer = adam(model)
    scope = observed(observer, model, optimizer, lambda: train(model, optimizer, scale=scale))
    assert (underflow(scope) < (0.15 if scale is None else 1e-3)).all()
    assert not names_of(untroubled(scope))


@OBSERVERS
def test_a_loss_that_is_small_under_autocast_loses_its_gradient(observer: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e3)
    scope = observed(observer, model, optimizer, lambda: train(model, optimizer, factor=1e-4))
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "gradient-underflow")
    assert {e.parameter for e in verdict.evidence} == {"0.weight", "2.weight", "4.weight", "6.weight"}
    assert verdict.remedies[0].name == "loss-scaling"


def test_scaling_the_loss_brings_it_back() -> None:
    model = network()
    scope, report = seen(model, adam(model), factor=1e-4, scale=65536.0)
    assert (underflow(scope) < 0.05).all()
    assert "gradient-underflow" not in names_of(report)


def test_a_scale_that_is_too_small_still_loses_it() -> None:
    model = network()
    scope, report = seen(model, adam(model), factor=1e-6, scale=64.0)
    assert (underflow(scope) > 0.4).all()
    assert "gradient-underflow" in names_of(report)


def test_it_is_a_warning_while_the_loss_falls() -> None:
    model = network()
    _, report = seen(model, adam(model), factor=1e-4, steps=300)
    severities = {v.name: v.severity for v in report.verdicts}
    assert severities == {"gradient-underflow": Severity.WARNING}


def test_a_model_in_float16_with_a_tiny_loss_does_not_move_and_that_is_an_error() -> None:
    model = network().half()
    scope, report = seen(model, torch.optim.SGD(model.parameters(), lr=0.1), factor=1e-3, autocast=False)
    verdict = next(v for v in report.verdicts if v.name == "gradient-underflow")
    assert verdict.severity is Severity.ERROR
    assert {e.detail for e in verdict.evidence} == {"float16"}
    assert "model.float()" in verdict.remedies[0].code["torch"]
    assert (underflow(scope) > 0.8).all()


def test_a_model_in_float16_that_trains_shows_no_underflow() -> None:
    model = network().half()
    scope, report = seen(model, torch.optim.SGD(model.parameters(), lr=0.1), autocast=False)
    assert (underflow(scope) < 0.15).all()
    assert "gradient-underflow" not in names_of(report)


@pytest.mark.parametrize("autocast", [True, False])
def test_where_every_gradient_has_become_zero_scaling_is_the_first_remedy(autocast: bool) -> None:
    model = network() if autocast else network().half()
    _, report = seen(model, torch.optim.SGD(model.parameters(), lr=0.1), factor=1e-7, autocast=autocast)
    verdict = next(v for v in report.verdicts if v.name == "zero-gradient")
    assert verdict.remedies[0].name == "loss-scaling"
    assert any(a.rule == "gradient-underflow" and "float16" in a.reason for a in report.not_judged)


def test_what_was_lost_before_clipping_is_not_judged_after_it() -> None:
    model = network()
    scope, report = seen(model, adam(model), factor=1e-3, clip=1e-5)
    assert np.isnan(underflow(scope)).all()
    assert any(a.rule == "gradient-underflow" and "float16" in a.reason for a in report.not_judged)


def test_a_limit_that_clips_nothing_hides_nothing() -> None:
    model = network()
    scope, _ = seen(model, adam(model), factor=1e-4, clip=1e9)
    assert (underflow(scope) > 0.4).all()


def test_gradients_that_are_summed_over_parts_of_a_batch_are_judged_as_well() -> None:
    model = network()
    scope, report = seen(model, adam(model), factor=1e-4, parts=4)
    assert (underflow(scope) > 0.2).all()
    assert "gradient-underflow" in names_of(report)


def test_a_network_in_float32_is_held_against_float32() -> None:
    model = network()
    scope, report = seen(model, adam(model), factor=1e-4, autocast=False)
    assert (underflow(scope) == 0).all()
    assert "half" not in scope.histories[0].facts
    assert not names_of(report)


def test_autocast_in_bfloat16_has_the_exponents_of_float32() -> None:
    model = network()
    optimizer = adam(model)

    def loop() -> None:
        for x, y in data(20):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = 1e-6 * nn.functional.cross_entropy(model(x).float(), y)
            loss.backward()
            optimizer.step()

    assert (underflow(watched(model, optimizer, loop)) == 0).all()


def test_rows_of_an_embedding_that_nobody_asked_for_are_no_underflow() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(1000, 16), nn.Flatten(), nn.Linear(64, 10))
    optimizer = adam(model)
    generator = torch.Generator().manual_seed(0)

    def loop() -> None:
        for _ in range(30):
            tokens = torch.randint(20, (32, 4), generator=generator)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                out = model(tokens)
            nn.functional.cross_entropy(out.float(), tokens[:, 0] % 10).backward()
            optimizer.step()

    scope = watched(model, optimizer, loop)
    assert "gradient-underflow" not in names_of(untroubled(scope))


def test_watching_a_training_in_float16_changes_no_bit() -> None:
    bare, model = network(), network()
    train(bare, adam(bare), scale=1024.0, clip=1.0, steps=20)
    seen(model, adam(model), scale=1024.0, clip=1.0, steps=20)
    assert same(weights_of(bare), weights_of(model))
