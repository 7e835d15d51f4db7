"""The loss under a gradient scaler, however it was made, and the norm before clipping, however many calls clip."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from gradscope.history import History
from torch import nn

from tests.adapters.torch.training import batches, sgd, untroubled

clip_norm = nn.utils.clip_grad_norm_


def scaled_steps(backward: Callable[[Any, torch.Tensor, torch.Tensor], None]) -> tuple[History, list[float]]:
    """The history of four scaled steps on two losses, and the mean of both in each step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    means = []
    with gradscope.watch(model, optimizer) as scope:
        for x, y in batches(4):
            optimizer.zero_grad()
            out = model(x)
            a, b = nn.functional.mse_loss(out[:, :1], y), nn.functional.mse_loss(out[:, 1:], y)
            means.append((a + b).item() / 2)
            backward(scaler, a, b)
            scaler.step(optimizer)
            scaler.update()
    untroubled(scope)
    return scope.histories[0], means


def one_after_the_other(scaler: Any, a: torch.Tensor, b: torch.Tensor) -> None:
    """Both are scaled before the first backward."""
    left, right = scaler.scale(a), scaler.scale(b)
    left.backward(retain_graph=True)
    right.backward()


def as_a_list(scaler: Any, a: torch.Tensor, b: torch.Tensor) -> None:
    """A scaler takes a list too."""
    torch.autograd.backward(scaler.scale([a, b]))


def divided(scaler: Any, a: torch.Tensor, b: torch.Tensor) -> None:
    """As for accumulation."""
    (scaler.scale(a + b) / 2).backward()


def summed(scaler: Any, a: torch.Tensor, b: torch.Tensor) -> None:
    """A loss made of two scaled ones."""
    (0.5 * scaler.scale(a) + 0.5 * scaler.scale(b)).backward()


def one_of_them_unscaled(scaler: Any, a: torch.Tensor, b: torch.Tensor) -> None:
    """A loss the scaler never saw is what it is."""
    scaler.scale(a).backward(retain_graph=True)
    b.backward()


@pytest.mark.parametrize("backward", [one_after_the_other, as_a_list, divided, summed, one_of_them_unscaled])
def test_a_loss_made_from_a_scaled_one_is_recorded_unscaled(backward: Any) -> None:
    history, means = scaled_steps(backward)
    assert list(history.run("loss")) == pytest.approx(means, rel=1e-5)
    assert list(history.run("loss_scale")) == [1024.0] * 4


def test_a_scaler_keeps_no_loss_alive() -> None:
    model = nn.Linear(4, 1)
    scaler = torch.amp.GradScaler("cpu")
    with gradscope.watch(model):
        loss = scaler.scale(model(next(batches(1))[0]).mean())
        gone = weakref.ref(loss)
        loss.backward()
        del loss
        assert gone() is None


# -- clipping ----------------------------------------------------------------------------------------------------------


def clipped_steps(clip: Callable[[nn.Module, nn.Module], None], steps: int = 3) -> History:
    """The history of steps on an encoder and a decoder whose gradients are clipped."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(4, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.0)
    with gradscope.watch([encoder, decoder], optimizer) as scope:
        for x, y in batches(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(decoder(encoder(100 * x)), y).backward()
            clip(encoder, decoder)
            optimizer.step()
    untroubled(scope)
    return scope.histories[0]


def clip_each(*limits: float) -> Callable[..., None]:
    """Clips part after part, each to its own limit."""

    def clip(*parts: nn.Module) -> None:
        for part, limit in zip(parts, limits, strict=True):
            clip_norm(part.parameters(), limit)

    return clip


def unclipped_norms() -> Any:
    """The norm of all gradients of each of these steps."""
    norms = clipped_steps(lambda *_: None)["gradient"].column("gradient_norm")
    return np.sqrt(np.square(norms).sum(axis=1))


def test_clipping_part_after_part_is_recorded_as_one() -> None:
    history = clipped_steps(clip_each(1.0, 1.0))
    assert list(history.run("clip_before")) == pytest.approx(list(unclipped_norms()), rel=1e-5)
    assert list(history.run("clip_limit")) == pytest.approx([math.sqrt(2)] * 3, rel=1e-5)


def test_one_part_that_is_clipped_makes_the_step_a_clipped_one() -> None:
    history = clipped_steps(clip_each(1.0, 1e9))
    assert (history.run("clip_before") > 1.0001 * history.run("clip_limit")).all()


def test_parts_of_which_none_is_clipped_do_not() -> None:
    history = clipped_steps(clip_each(1e9, 1e9))
    assert not (history.run("clip_before") > history.run("clip_limit")).any()


@pytest.mark.parametrize("limits", [(math.inf, 1.0), (1.0, math.inf), (5.0, 1.0)])
def test_the_same_parameters_clipped_twice_count_once(limits: tuple[float, float]) -> None:
    def clip(a: nn.Module, b: nn.Module) -> None:
        for limit in limits:
            clip_norm([*a.parameters(), *b.parameters()], limit)

    history = clipped_steps(clip)
    assert list(history.run("clip_before")) == pytest.approx(list(unclipped_norms()), rel=1e-5)
    assert list(history.run("clip_limit")) == [1.0] * 3


def test_a_generator_of_parameters_is_clipped_as_ever() -> None:
    def clip(a: nn.Module, b: nn.Module) -> None:
        norm = torch.tensor(1e6)
        torch.nn.utils.clip_grads_with_norm_((p for m in (a, b) for p in m.parameters()), 1.0, norm)

    assert np.square(clipped_steps(clip)["gradient"].column("gradient_norm")).sum() < 1


def totals(history: History) -> Any:
    """The norm of all gradients in each step, as the optimizer used them."""
    return np.sqrt(np.square(history["gradient"].column("gradient_norm")).sum(axis=1))


@pytest.mark.parametrize("limit", [0.5, 5.0, 1e9])
def test_the_norm_after_clipping_is_that_before_or_the_limit(limit: float) -> None:
    history = clipped_steps(lambda a, b: clip_norm([*a.parameters(), *b.parameters()], limit), steps=6)
    expected = np.minimum(history.run("clip_before"), history.run("clip_limit"))
    assert list(totals(history)) == pytest.approx(list(expected), rel=1e-4)


@pytest.mark.parametrize("unscale", [True, False], ids=["unscaled first", "while scaled"])
def test_norms_of_clipping_under_a_scaler_are_told_unscaled(unscale: bool) -> None:
    def run(scale: float, limit: float) -> History:
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = sgd(model, lr=0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        with gradscope.watch(model, optimizer) as scope:
            for x, y in batches(4):
                optimizer.zero_grad()
                scaler.scale(nn.functional.mse_loss(model(x), y)).backward()
                if unscale:
                    scaler.unscale_(optimizer)
                clip_norm(model.parameters(), limit)
                scaler.step(optimizer)
                scaler.update()
        untroubled(scope)
        return scope.histories[0]

    plain, scaled = run(1.0, 0.25), run(1024.0, 0.25)
    assert list(scaled.run("clip_before")) == pytest.approx(list(plain.run("clip_before")), rel=1e-5)
    limit = 0.25 if unscale else 0.25 / 1024
    assert list(scaled.run("clip_limit")) == pytest.approx([limit] * 4)
    assert list(totals(scaled)) == pytest.approx([limit] * 4, rel=1e-3)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_the_norm_before_clipping_is_not_rounded_to_the_type_of_the_gradients(kind: torch.dtype) -> None:
    model = nn.Linear(1000, 10, bias=False).to(kind)
    optimizer = sgd(model, lr=0.0)
    with gradscope.watch(model, optimizer) as scope:
        for value in (0.1, 1.005):
            model.weight.grad = torch.full((10, 1000), value, dtype=kind)
            expected = float(model.weight.grad.double().norm())
            clip_norm(model.parameters(), 1e9)
            optimizer.step()
            assert scope.report() is not None
            assert float(scope.histories[0].run("clip_before")[-1]) == pytest.approx(expected, rel=1e-6)


def test_a_norm_beyond_float16_is_finite_before_clipping_too() -> None:
    model = nn.Linear(1000, 1000, bias=False).half()
    optimizer = sgd(model, lr=0.0)
    with gradscope.watch(model, optimizer) as scope:
        model.weight.grad = torch.full((1000, 1000), 100.0, dtype=torch.float16)
        clip_norm(model.parameters(), 1.0)
        optimizer.step()
    assert list(scope.histories[0].run("clip_before")) == pytest.approx([1e5])


def test_a_norm_that_is_no_l2_norm_stays_what_it_is() -> None:
    model = nn.Linear(1000, 10, bias=False).bfloat16()
    optimizer = sgd(model, lr=0.0)
    with gradscope.watch(model, optimizer) as scope:
        model.weight.grad = torch.full((10, 1000), 0.5, dtype=torch.bfloat16)
        clip_norm(model.parameters(), 1e9, norm_type=math.inf)
        optimizer.step()
    assert list(scope.histories[0].run("clip_before")) == [0.5]


def test_the_share_of_clipped_steps_is_that_of_the_loop() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = sgd(model, lr=1e-6)
    clipped = 0
    with gradscope.watch(model, optimizer) as scope:
        for step, (x, y) in enumerate(batches(60)):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(100 * x), y).backward()
            limit = 1e9 if step % 30 == 7 else 1e-3
            clipped += int(clip_norm(model.parameters(), limit) > limit)
            optimizer.step()
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "always-clipped")
    assert clipped == 58
    assert verdict.evidence[0].value == pytest.approx(58 / 60)


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_accumulated_gradients_are_judged_at_the_step_alone(scale: float | None) -> None:
    def run(parts: int) -> History:
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = sgd(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        with gradscope.watch(model, optimizer) as scope:
            for x, y in batches(6):
                for given, wanted in zip(x.chunk(parts), y.chunk(parts), strict=True):
                    scaler.scale(nn.functional.mse_loss(model(given), wanted) / parts).backward()
                scaler.unscale_(optimizer)
                clip_norm(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
        untroubled(scope)
        return scope.histories[0]

    whole, parts = run(1), run(4)
    assert parts.steps == 6
    for table, quantity in (("gradient", "gradient_norm"), ("parameter", "gradient_abs_max")):
        assert parts[table].column(quantity) == pytest.approx(whole[table].column(quantity), rel=1e-4)
    assert list(parts.run("clip_before")) == pytest.approx(list(whole.run("clip_before")), rel=1e-4)
    assert list(parts.run("backward_passes")) == [4] * 6
