"""Steps that cannot be run again, and broken steps that the program deals with by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import gradscope
import pytest
import torch
from gradscope import NonFiniteError
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import WIDTH, Apply, batch, net
from tests.adapters.torch.origins.planting import (
    FAILS,
    Program,
    changed,
    origin_of,
    program,
    run,
    state_of,
    watched_run,
)
from tests.adapters.torch.training import untroubled


def normalized(x: Tensor) -> Tensor:
    """Shares of a sum, which has to differ from 0."""
    return x / x.abs().sum(-1, keepdim=True)


def rooted(x: Tensor) -> Tensor:
    """A vector times its length, whose slope at 0 is not finite."""
    return x * x.square().sum(-1, keepdim=True).sqrt()


class Consuming(nn.Module):
    """Takes an iterator, which can be read once."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 2)

    def forward(self, parts: Iterator[Tensor]) -> Tensor:
        return normalized(torch.cat(list(parts))) @ self.out.weight.t()


def consuming(sick: bool) -> Program:
    """A program whose failing step cannot be run again."""
    torch.manual_seed(0)
    model = Consuming()
    return program(model, lambda step: model(iter([batch(step, sick)])).square().mean())


def test_a_step_that_cannot_be_run_again_is_told_and_hurts_nobody() -> None:
    bare = run(consuming(True))
    assert (bare.failed, run(consuming(False)).failed) == (FAILS, None)
    scope, seen = watched_run(consuming(True))
    assert changed(seen.weights, bare.weights) == []
    report = scope.report()
    verdict = next(v for v in report.verdicts if v.name == "non-finite-loss")
    assert verdict.step == FAILS
    assert verdict.origin is None or (verdict.origin.phase, verdict.origin.op) == ("forward", "div")
    assert verdict.origin is not None or scope.limits or report.failures


def test_a_step_that_cannot_be_run_again_is_skipped_all_the_same() -> None:
    trained, bare = consuming(True), consuming(True)
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="skip") as scope:
        for number in [0, 1, FAILS, 2, FAILS, 4]:
            trained.step(number)
    for number in [0, 1, 2, 4]:
        bare.step(number)
    assert changed([state_of(trained)], [state_of(bare)]) == []
    assert scope.skipped_steps == 2


def test_a_step_that_cannot_be_run_again_raises_all_the_same() -> None:
    trained = consuming(True)
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="raise"):
        for _ in range(2):
            trained.step(0)
            with pytest.raises(NonFiniteError):
                trained.step(FAILS)


def test_a_program_that_leaves_broken_steps_out_by_itself_has_no_origin() -> None:
    model = net(Apply(normalized))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with gradscope.watch(model, optimizer) as scope:
        for number in range(8):
            optimizer.zero_grad()
            loss = model(batch(number, True)).square().mean()
            if bool(loss.isfinite()):
                loss.backward()
                optimizer.step()
    assert origin_of(scope) is None


def test_a_program_that_mends_its_gradients_by_itself_has_no_origin() -> None:
    model = net(Apply(rooted))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with gradscope.watch(model, optimizer) as scope:
        for number in range(8):
            optimizer.zero_grad()
            model(batch(number, True)).square().mean().backward()
            for p in model.parameters():
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimizer.step()
    assert origin_of(scope) is None


def test_of_gradients_that_were_put_there_by_hand_the_report_says_what_it_cannot_know() -> None:
    model = net(nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        loss = model(batch(number, True, math.nan)).square().mean()
        held = list(model.parameters())
        for p, g in zip(held, torch.autograd.grad(loss, held), strict=True):
            p.grad = g
        optimizer.step()
        return loss

    scope, trace = watched_run(Program(model, optimizer, step))
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "non-finite-gradient")
    assert (trace.failed, verdict.step) == (FAILS, FAILS)
    assert verdict.origin is not None or f"step {FAILS}" in scope.limits["first cause"]
