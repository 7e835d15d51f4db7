"""The loops that people write: closures, schedulers, several models and optimizers."""

from __future__ import annotations

from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from torch import nn

from tests.adapters.torch.training import (
    OBSERVERS,
    batches,
    in_session,
    mlp,
    names_of,
    observed,
    sgd,
    subjects,
    train,
    untroubled,
)

# -- optimizers --------------------------------------------------------------------------------------------------------


@OBSERVERS
def test_a_closure_is_one_step_however_often_it_is_called(observer: str) -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    x, y = next(batches(1))
    calls = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        calls.append(loss.item())
        return loss

    def loop() -> None:
        for _ in range(6):
            optimizer.step(closure)

    scope = observed(observer, model, optimizer, loop)
    report = untroubled(scope)
    history = scope.histories[0]
    assert report.watched["steps"] == 6
    assert history.run("backward_passes").sum() == len(calls) > 6
    assert not names_of(report) & {"stale-gradient", "missing-gradient"}
    assert (history["gradient"].column("gradient_norm") >= 0).all()


@OBSERVERS
def test_a_closure_given_to_plain_sgd_is_measured_after_its_backward(observer: str) -> None:
    model = nn.Linear(4, 1)
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):

            def closure(x: Any = x, y: Any = y) -> torch.Tensor:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure=closure)

    history = observed(observer, model, optimizer, loop).histories[0]
    assert (history["gradient"].column("gradient_norm") > 0).all()
    assert np.isfinite(history.run("loss")).all()


@OBSERVERS
def test_a_parameter_group_added_later_is_named_and_measured_from_then_on(observer: str) -> None:
    model = mlp()
    head = model[3]
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.01)

    def loop() -> None:
        train(model, optimizer, 3)
        optimizer.add_param_group({"params": list(head.parameters()), "lr": 0.1})
        train(model, optimizer, 3)

    scope = observed(observer, model, optimizer, loop)
    untroubled(scope)
    assert len(scope.histories) == 1
    assert sorted(subjects(scope)) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    assert scope.histories[0]["gradient"].subject("3.weight").traits["optimized"]
    assert list(scope.histories[0].run("learning_rate")) == [0.01] * 3 + [0.1] * 3


@OBSERVERS
def test_an_optimizer_made_anew_over_the_same_parameters_continues_the_history(observer: str) -> None:
    model = mlp()

    def loop() -> None:
        for _ in range(3):
            train(model, sgd(model), 2)

    scope = observed(observer, model, None, loop)
    assert [h.steps for h in scope.histories] == [6]


@OBSERVERS
def test_schedulers_that_wrap_step_are_heard(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model, lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8)
    rates = []

    def loop() -> None:
        for x, y in batches(7):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()

    history = observed(observer, model, optimizer, loop).histories[0]
    assert list(history.run("learning_rate")) == pytest.approx(rates)


def test_without_an_optimizer_every_one_that_holds_a_parameter_is_heard_and_no_other() -> None:
    model, other = mlp(), mlp(seed=1)
    with gradscope.watch(model) as scope:
        train(model, sgd(model), 3)
        train(other, sgd(other), 5)
    assert [h.steps for h in scope.histories] == [3]


def test_an_optimizer_that_steps_inside_another_counts_once() -> None:
    model = mlp()
    inner = sgd(model)

    class Outer(torch.optim.Optimizer):
        def __init__(self) -> None:
            super().__init__(list(model.parameters()), {})

        def step(self, closure: Any = None) -> None:
            inner.step()

    outer = Outer()
    scope = in_session(lambda: train(model, outer, 4))
    assert [h.steps for h in scope.histories] == [4]


# -- several objectives ------------------------------------------------------------------------------------------------


@OBSERVERS
def test_the_two_optimizers_of_a_gan_compete(observer: str) -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    ours, theirs = torch.optim.Adam(generator.parameters()), torch.optim.Adam(critic.parameters())
    judge = nn.functional.binary_cross_entropy_with_logits
    one, zero = torch.ones(16, 1), torch.zeros(16, 1)

    def loop() -> None:
        for _ in range(8):
            fake = generator(torch.randn(16, 2))
            theirs.zero_grad()
            (judge(critic(torch.randn(16, 2) + 2), one) + judge(critic(fake.detach()), zero)).backward()
            theirs.step()
            ours.zero_grad()
            judge(critic(fake), one).backward()
            ours.step()

    scope = observed(observer, [generator, critic], [ours, theirs], loop)
    untroubled(scope)
    assert [h.facts.get("competing") for h in scope.histories] == [True, True]
    assert [h.steps for h in scope.histories] == [8, 8]
    assert subjects(scope, objective=0)[0] == "critic.0.weight"
    assert subjects(scope, objective=1)[0] == "generator.0.weight"


@OBSERVERS
def test_the_two_optimizers_of_an_encoder_and_a_decoder_step_together(observer: str) -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(4, 3), nn.Linear(3, 4)
    first, second = sgd(encoder, 0.01), sgd(decoder, 0.01)

    def loop() -> None:
        for x, _ in batches(8):
            first.zero_grad()
            second.zero_grad()
            nn.functional.mse_loss(decoder(encoder(x)), x).backward()
            first.step()
            second.step()

    scope = observed(observer, [encoder, decoder], [first, second], loop)
    untroubled(scope)
    assert [bool(h.facts.get("competing")) for h in scope.histories] == [False, False]
    assert list(scope.histories[0].run("loss")) == list(scope.histories[1].run("loss"))
    assert [list(h.run("carried_over")[1:]) for h in scope.histories] == [[0] * 7, [0] * 7]


@OBSERVERS
def test_several_models_under_one_optimizer_are_named_by_their_variables(observer: str) -> None:
    body, head = nn.Linear(4, 8), nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.01)
    scope = observed(observer, [body, head], optimizer, lambda: train(lambda x: head(body(x).relu()), optimizer, 3))
    assert subjects(scope) == ["body.weight", "body.bias", "head.weight", "head.bias"]


def test_the_loss_of_an_unwatched_model_is_not_taken_for_that_of_the_watched_one() -> None:
    model, other = nn.Linear(4, 1), nn.Linear(4, 1)
    optimizer, another = sgd(model), sgd(other)
    losses = []
    with gradscope.watch(model, optimizer) as scope:
        for x, y in batches(5):
            another.zero_grad()
            (nn.functional.mse_loss(other(x), y) + 1000).backward()
            another.step()
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
    assert list(scope.histories[0].run("loss")) == pytest.approx(losses, rel=1e-6)
