"""watch(): what it takes and refuses, log(), failures of its own, bounded memory, and several scopes at once."""

from __future__ import annotations

import math
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from gradscope import Scope
from gradscope.errors import CannotJudge, SettingsError, UsageError
from gradscope.scope import Enough
from torch import nn

from gradscope_torch import measure
from gradscope_torch.session import Session
from tests.adapters.torch.training import batches, in_session, mlp, same, sgd, train, untroubled, weights_of


@pytest.mark.parametrize(
    ("model", "optimizer", "error", "message"),
    [
        ("net", None, UsageError, r"no adapter recognizes 'str' .*frameworks known here: .*torch"),
        (3, None, UsageError, r"no adapter recognizes 'int'"),
        ([nn.Linear(1, 1), "net"], None, UsageError, r"watch\(\): expected a torch.nn.Module, got str 'net'"),
        (nn.Linear, None, UsageError, r"watch\(\): expected a torch.nn.Module, got type"),
        (nn.Linear(1, 1), "adam", UsageError, r"watch\(\): expected a torch.optim.Optimizer, got str"),
        (nn.Linear(1, 1), torch.optim.SGD, UsageError, r"watch\(\): expected a torch.optim.Optimizer, got type"),
        (nn.ReLU(), None, CannotJudge, r"watch\(\): ReLU has no parameter that requires a gradient"),
        (nn.Linear(1, 1).requires_grad_(False), None, CannotJudge, r"watch\(\): Linear has no parameter"),
    ],
)
def test_what_cannot_be_watched_is_refused(model: Any, optimizer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gradscope.watch(model, optimizer)


def test_a_refusal_leaves_no_wrapper_behind() -> None:
    original = torch.autograd.backward
    with pytest.raises(UsageError):
        gradscope.watch(nn.Linear(1, 1), "adam")
    assert torch.autograd.backward is original


def test_settings_of_watch_are_checked_at_once() -> None:
    with pytest.raises(SettingsError, match=r"settings: unknown key 'selct'; known keys: select"):
        gradscope.watch(mlp(), settings={"selct": []})


def test_settings_of_watch_choose_the_rules() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer, settings={"ignore": ["stale-gradient"]}) as scope:
        for x, y in batches(12):
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    assert "stale-gradient" not in {v.name for v in scope.report().verdicts}


def test_a_scope_without_a_step_could_not_judge() -> None:
    with gradscope.watch(mlp()) as scope:
        pass
    report = scope.report()
    assert (report.status, report.cannot) == (
        "not-judged",
        "no optimizer step was taken: there is nothing to judge",
    )


# -- failures of its own -----------------------------------------------------------------------------------------------

PARTS = {
    "gradient_statistics": "torch optimizer hooks",
    "norms": "torch optimizer hooks",
    "dense_values": "torch optimizer hooks",
    "output_statistics": "torch module hooks",
    "spread": "torch functions",
}


def broken(*_: Any, **__: Any) -> Any:
    """What a part of the observer does in these tests."""
    raise ValueError("broken on purpose")


@pytest.mark.parametrize("observer", ["watch", "session"])
@pytest.mark.parametrize("part", PARTS)
def test_a_failing_observer_is_named_and_the_training_goes_on(
    part: str, observer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = mlp()
    train(bare, sgd(bare), 10)
    monkeypatch.setattr(measure, part, broken)
    model = mlp()
    optimizer = sgd(model)
    if observer == "watch":
        with gradscope.watch(model, optimizer) as scope:
            train(model, optimizer, 10)
    else:
        scope = in_session(lambda: train(model, optimizer, 10))
    assert scope.report().failures[PARTS[part]] == "ValueError: broken on purpose"
    assert same(weights_of(bare), weights_of(model))


@pytest.mark.parametrize("part", ["gradient_statistics", "norms"])
def test_a_failing_observer_is_never_read_as_healthy(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, part, broken)
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 10)
    assert scope.report().status == "not-judged"


@pytest.mark.parametrize("part", ["gradient_statistics", "norms", "dense_values"])
def test_a_session_with_a_limit_ends_even_when_the_observer_fails(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, part, broken)
    model = mlp()
    scope = Scope(steps=5)
    with pytest.raises(Enough), Session(scope):
        train(model, sgd(model), 50)


# -- log ---------------------------------------------------------------------------------------------------------------


def step_without_backward(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One step whose backward nobody hears; gives its loss."""
    x, y = next(batches(1))
    loss = nn.functional.mse_loss(model(x), y)
    for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        p.grad = g
    optimizer.step()
    return loss.item()


def test_a_logged_loss_is_that_of_the_step_just_taken() -> None:
    model = mlp()
    optimizer = sgd(model)
    losses = []
    with gradscope.watch(model, optimizer) as scope:
        for _ in range(4):
            losses.append(step_without_backward(model, optimizer))
            scope.log(loss=torch.tensor(losses[-1]))
    assert list(scope.histories[0].run("loss")) == pytest.approx(losses)


def test_a_loss_logged_before_the_step_is_that_of_the_step_that_comes() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        for i in range(4):
            scope.log(loss=float(i))
            step_without_backward(model, optimizer)
    assert list(scope.histories[0].run("loss")) == [0, 1, 2, 3]


def test_a_logged_loss_does_not_replace_one_that_was_seen() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 1)
        scope.log(loss=123.0)
    assert scope.histories[0].run("loss")[0] != 123.0


def test_a_logged_loss_that_is_not_finite_is_noted_as_such() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        step_without_backward(model, optimizer)
        scope.log(loss=math.nan)
    assert scope.histories[0].run("loss_nonfinite")[0] == 1


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_long_run_stays_within_its_budget() -> None:
    model = nn.Linear(4, 1)
    optimizer = sgd(model, lr=1e-3)
    budget = 2**16
    with gradscope.watch(model, optimizer, budget=budget) as scope:
        train(model, optimizer, 2500)
    history = scope.histories[0]
    held = sum(t._cells.nbytes + t._steps.nbytes for t in history.tables.values())
    assert history.steps == 2500
    assert held <= 1.5 * budget
    assert [int(history["step"].steps[i]) for i in (0, -1)] == [0, 2499]


def test_full_statistics_grow_rarer_under_watch() -> None:
    model = nn.Linear(4, 1)
    optimizer = sgd(model, lr=1e-3)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 210)
    assert list(scope.histories[0]["parameter"].steps) == [0, 1, 2, 4, 8, 16, 32, 64, 100, 200]


def test_every_step_is_a_full_one_in_a_session() -> None:
    model = nn.Linear(4, 1)
    scope = in_session(lambda: train(model, sgd(model), 9))
    assert np.array_equal(scope.histories[0]["parameter"].steps, np.arange(9))


# -- several scopes ----------------------------------------------------------------------------------------------------


def test_two_scopes_on_two_models_hear_their_own_steps_only() -> None:
    first, second = mlp(), mlp(seed=1)
    ours, theirs = sgd(first), sgd(second)
    with gradscope.watch(first, ours) as one, gradscope.watch(second, theirs) as two:
        train(first, ours, 3)
        train(second, theirs, 5)
    assert [h.steps for s in (one, two) for h in s.histories] == [3, 5]
    assert not one.failures
    assert not two.failures


def test_two_scopes_on_two_models_note_the_activations_of_both() -> None:
    first, second = mlp(), mlp(seed=1)
    ours, theirs = sgd(first), sgd(second)
    with gradscope.watch(first, ours) as one, gradscope.watch(second, theirs) as two:
        for x, y in batches(5):
            for model, optimizer in ((first, ours), (second, theirs)):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                optimizer.step()
    noted = [np.isfinite(s.histories[0]["module"].series("zero_fraction", "0 > relu")) for s in (one, two)]
    assert [list(n) for n in noted] == [[True] * 4] * 2


def test_two_scopes_on_one_model_write_the_same_norms() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as one, gradscope.watch(model, optimizer) as two:
        train(model, optimizer, 6)
    left, right = (s.histories[0]["gradient"].column("gradient_norm") for s in (one, two))
    assert np.array_equal(left, right)


def test_a_scope_goes_on_when_another_is_closed() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as one:
        two = gradscope.watch(model, optimizer)
        train(model, optimizer, 3)
        two.close()
        train(model, optimizer, 3)
    assert [one.histories[0].steps, two.histories[0].steps] == [6, 3]
    assert np.isfinite(one.histories[0].run("loss")).all()


def test_a_watch_inside_a_checked_script_works_beside_the_session() -> None:
    model = mlp()
    optimizer = sgd(model)
    inner = []

    def loop() -> None:
        with gradscope.watch(model, optimizer) as scope:
            train(model, optimizer, 6)
        inner.append(scope)

    outer = in_session(loop)
    assert untroubled(outer).watched["steps"] == untroubled(inner[0]).watched["steps"] == 6
