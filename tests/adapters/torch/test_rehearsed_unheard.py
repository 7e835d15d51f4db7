"""While a failing step is run again, nobody hears of it: its calls come in no history."""

from __future__ import annotations

from typing import Any

import gradscope
import pytest
import torch
from gradscope.scope import Scope
from torch import nn
from torch.nn import functional as F

from gradscope_torch.session import Session


def train(model: nn.Module, optimizer: Any, bad: int | None) -> None:
    """Six steps, of which that one is not finite."""
    for step in range(6):
        out = model(torch.rand(8, 3))
        out = out * (float("nan") if step == bad else 1.0)
        optimizer.zero_grad()
        F.cross_entropy(torch.relu(out), torch.randint(0, 2, (8,))).backward()
        optimizer.step()
        with torch.no_grad():
            for p in model.parameters():
                p.nan_to_num_()


def made() -> tuple[nn.Module, Any]:
    """(model, optimizer)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    return model, torch.optim.SGD(model.parameters(), lr=0.01)


def heard(scope: Scope) -> dict[str, Any]:
    """What was noted of calls, and how often each was measured."""
    (history,) = scope.histories
    return {
        f"{kind} {subject.name}": (history[kind].series("order", subject.name) >= 0).tolist()
        if kind == "module"
        else len(history[kind].subjects)
        for kind in ("module", "loss")
        for subject in history[kind].subjects
    }


def in_session(bad: int | None, depth: int = 1) -> list[Scope]:
    """Observed by sessions, one in another."""
    scopes = [Scope() for _ in range(depth)]
    model, optimizer = made()
    with Session(scopes[0]):
        if depth > 1:
            with Session(scopes[1]):
                train(model, optimizer, bad)
        else:
            train(model, optimizer, bad)
    return scopes


def watched(bad: int | None, depth: int = 1) -> list[Scope]:
    """Observed by watches."""
    model, optimizer = made()
    scopes = [gradscope.watch(model, optimizer) for _ in range(depth)]
    train(model, optimizer, bad)
    for scope in scopes:
        scope.close()
    return scopes


@pytest.mark.parametrize("bad", [0, 3])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("observed", [in_session, watched])
def test_a_step_that_is_run_again_leaves_no_call_in_a_history(observed: Any, bad: int, depth: int) -> None:
    (healthy,) = observed(None)
    for scope in observed(bad, depth):
        assert not scope.failures, scope.failures
        assert scope.histories[0].facts["origin"].step == bad
        assert heard(scope) == heard(healthy)
