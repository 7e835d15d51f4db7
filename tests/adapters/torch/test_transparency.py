"""The monitor never hurts the run: what is trained, and what is drawn at random, is the same with and without it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.adapters.torch.training import batches, in_session, mlp, same, train, untroubled, watched, weights_of

Build = Callable[[Any], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "sgd with nesterov and decay": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-2),
}


def outcome(build: Build, observer: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(weights after 50 steps, state of the global generator), under one kind of observer."""
    model = mlp(dropout=0.3)
    optimizer = build(model.parameters())
    torch.manual_seed(3)

    def loop() -> None:
        train(model, optimizer, steps=50)

    if observer == "watch":
        untroubled(watched(model, optimizer, loop))
    elif observer == "session":
        untroubled(in_session(loop))
    else:
        loop()
    return weights_of(model), torch.get_rng_state()


@pytest.mark.parametrize("observer", ["watch", "session"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_are_the_same_bit_for_bit(optimizer: str, observer: str) -> None:
    bare, _ = outcome(OPTIMIZERS[optimizer], "none")
    seen, _ = outcome(OPTIMIZERS[optimizer], observer)
    assert same(bare, seen)


@pytest.mark.parametrize("observer", ["watch", "session"])
def test_the_global_random_stream_is_where_it_would_be(observer: str) -> None:
    _, bare = outcome(OPTIMIZERS["adam"], "none")
    _, seen = outcome(OPTIMIZERS["adam"], observer)
    assert torch.equal(bare, seen)


@pytest.mark.parametrize("observer", ["watch", "session"])
@pytest.mark.parametrize("clip", ["norm", "value"])
def test_clipping_gives_the_same_weights(clip: str, observer: str) -> None:
    def run(observe: Callable[..., Any] | None) -> list[torch.Tensor]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def loop() -> None:
            for x, y in batches(20):
                optimizer.zero_grad()
                (100 * nn.functional.mse_loss(model(x), y)).backward()
                if clip == "norm":
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                else:
                    nn.utils.clip_grad_value_(model.parameters(), 0.1)
                optimizer.step()

        if observe is None:
            loop()
        else:
            untroubled(observe(model, optimizer, loop))
        return weights_of(model)

    watching = watched if observer == "watch" else lambda _model, _optimizer, loop: in_session(loop)
    assert same(run(None), run(watching))


def test_clipping_returns_the_norm_it_returns_without_an_observer() -> None:
    model = mlp()
    x, y = next(batches(1))
    nn.functional.mse_loss(model(x), y).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    expected = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)

    def clip_again() -> None:
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g
        assert torch.equal(nn.utils.clip_grad_norm_(model.parameters(), 1e-3), expected)

    in_session(clip_again)


def test_a_graph_kept_by_the_user_can_still_be_used_after_the_step() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def loop() -> None:
        x, y = next(batches(1))
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward(retain_graph=True)
        first = model[0].weight.grad.clone()
        optimizer.zero_grad()
        loss.backward()
        assert torch.equal(model[0].weight.grad, first)
        optimizer.step()

    untroubled(watched(model, optimizer, loop))


def test_the_graph_of_a_step_is_released_with_the_step() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outputs = []

    def loop() -> None:
        import weakref

        for x, y in batches(3):
            optimizer.zero_grad()
            out = model(x)
            outputs.append(weakref.ref(out))
            nn.functional.mse_loss(out, y).backward()
            del out
            optimizer.step()

    in_session(loop)
    assert [o() for o in outputs] == [None, None, None]


@pytest.mark.parametrize("before", [None, "0"])
def test_the_environment_is_as_it_was_after_a_session(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    else:
        monkeypatch.setenv("TORCHDYNAMO_DISABLE", before)
    in_session(lambda: None)
    assert os.environ.get("TORCHDYNAMO_DISABLE") == before
