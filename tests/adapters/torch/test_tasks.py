"""Many models and optimizers in one script: a copy for every task, ensembles, folds."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from gradscope import Scope
from gradscope.scope import Enough
from torch import nn

from gradscope_torch.session import Session
from gradscope_torch.turns import Turns
from tests.adapters.torch.training import in_session, mlp, sgd, train, untroubled


def tasks(many: int, steps: int) -> Callable[[], Any]:
    """A loop that trains a copy of one model for every task."""
    net = mlp()

    def loop() -> None:
        for _ in range(many):
            fast = copy.deepcopy(net)
            train(fast, sgd(fast), steps)

    return loop


def limited(loop: Callable[[], Any], limit: int) -> int:
    """How many steps are taken until an observation with a limit ends."""
    scope = Scope(steps=limit)
    with pytest.raises(Enough), Session(scope):
        loop()
    return sum(h.steps for h in scope.histories)


def test_the_steps_of_tasks_that_follow_each_other_add_up() -> None:
    assert 40 <= limited(tasks(100, 4), 40) <= 60


def test_tasks_of_one_step_each_reach_the_limit_too() -> None:
    assert limited(tasks(200, 1), 30) <= 50


def test_every_task_has_a_history_of_its_own() -> None:
    scope = in_session(tasks(3, 5))
    untroubled(scope)
    assert [h.steps for h in scope.histories] == [5, 5, 5]


def test_models_of_tasks_long_gone_are_not_held() -> None:
    net, gone = mlp(), []

    def loop() -> None:
        for _ in range(30):
            fast = copy.deepcopy(net)
            gone.append(weakref.ref(fast))
            train(fast, sgd(fast), 2)
        del fast
        gc.collect()
        assert sum(ref() is not None for ref in gone) < 20

    scope = in_session(loop)
    untroubled(scope)
    assert [h.steps for h in scope.histories] == [2] * 30
    assert len({s.name for h in scope.histories for s in h["gradient"].subjects}) >= 4


def test_an_ensemble_that_steps_in_turn_counts_each_round_once() -> None:
    def loop() -> None:
        models = [mlp(seed=i) for i in range(3)]
        optimizers = [sgd(m) for m in models]
        for _ in range(20):
            for model, optimizer in zip(models, optimizers, strict=True):
                train(model, optimizer, 1)

    assert limited(loop, 10) == 28


def test_optimizers_of_different_kinds_do_not_add_up() -> None:
    def loop() -> None:
        train(first := nn.Linear(4, 1), sgd(first), 10)
        train(second := mlp(), sgd(second), 20)

    assert limited(loop, 15) == 25


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([], 0),
        ([1], 1),
        ([1, 1, 1], 3),
        ([1, 2, 1, 2, 1, 2], 3),
        ([1, 1, 1, 2, 1, 1, 1, 2], 6),
        ([1, 1, 1, 2, 2, 2], 5),
        (list(range(16)), 1),
        (list(range(20)), 5),
        (list(range(20)) * 2, 6),
    ],
)
def test_steps_are_counted_by_turns(steps: list[int], count: int) -> None:
    turns = Turns()
    for who in steps:
        turns.step("SGD", who)
    assert turns.count == count
