"""Models that change while they are watched: layers added, replaced, frozen and thawed, moved, averaged, saved."""

from __future__ import annotations

import copy
import gc
import io
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from gradscope import Scope
from gradscope.history import MISSING, UNOBSERVED, History
from torch import nn

from tests.adapters.torch.training import batches, mlp, names_of, same, sgd, subjects, train, untroubled, weights_of

NAMES = ["0.weight", "0.bias", "3.weight", "3.bias"]


def norms(scope: Scope, name: str) -> Any:
    """The gradient norms of a parameter."""
    return scope.histories[0]["gradient"].series("gradient_norm", name)


def last_updates(history: History) -> dict[str, float]:
    """The update norm of each parameter in the last full step."""
    table = history["parameter"]
    return {s.name: float(v) for s, v in zip(table.subjects, table.column("update_norm")[-1], strict=True)}


# -- layers --------------------------------------------------------------------------------------------------------


def test_a_layer_that_is_added_with_its_group_is_observed_from_then_on() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 4)
        model.append(nn.Linear(1, 1))
        optimizer.add_param_group({"params": list(model[4].parameters())})
        train(model, optimizer, 8)
    report = untroubled(scope)
    assert subjects(scope) == [*NAMES, "4.weight", "4.bias"]
    assert (norms(scope, "4.weight")[:4] == UNOBSERVED).all()
    assert (norms(scope, "4.weight")[4:] > 0).all()
    assert last_updates(scope.histories[0])["4.weight"] > 0
    assert "4" in subjects(scope, "module")
    assert not names_of(report)


def test_a_head_that_is_replaced_in_model_and_optimizer_is_observed_in_its_place() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 4)
        model[3] = nn.Linear(16, 1)
        optimizer.param_groups[0]["params"] = list(model.parameters())
        train(model, optimizer, 30)
    report = untroubled(scope)
    assert subjects(scope) == ["0.weight", "0.bias", "3.weight (replaced)", "3.bias (replaced)", "3.weight", "3.bias"]
    assert (norms(scope, "3.weight (replaced)")[4:] == UNOBSERVED).all()
    assert (norms(scope, "3.weight (replaced)")[:4] > 0).all()
    assert (norms(scope, "3.weight")[4:] > 0).all()
    assert not names_of(report)


def test_one_parameter_that_changes_places_in_a_group_is_noticed() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 5)
        model[3].weight = nn.Parameter(model[3].weight.detach().clone())
        optimizer.param_groups[0]["params"][2] = model[3].weight
        train(model, optimizer, 5)
    assert (norms(scope, "3.weight")[5:] > 0).all()
    assert "3.weight (replaced)" in subjects(scope)
    assert not names_of(untroubled(scope))


def test_a_head_that_is_added_beside_the_old_one_in_the_optimizer_is_no_verdict() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 4)
        model[3] = nn.Linear(16, 1)
        optimizer.add_param_group({"params": list(model[3].parameters())})
        train(model, optimizer, 30)
    report = untroubled(scope)
    assert (norms(scope, "3.weight (replaced)")[4:] == MISSING).all()
    assert (norms(scope, "3.weight")[4:] > 0).all()
    assert not names_of(report)


def test_a_head_that_only_the_model_has_is_a_verdict_though_the_old_one_was_trained() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 4)
        model[3] = nn.Linear(16, 1)
        train(model, optimizer, 30)
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "unchanged-parameter")
    assert {"3.weight (replaced)", "3.weight"} <= {e.parameter for e in verdict.evidence}


def test_a_model_whose_parameters_are_all_made_anew_is_a_verdict() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 4)
        for layer in (model[0], model[3]):
            layer.weight, layer.bias = (nn.Parameter(p.detach().clone()) for p in (layer.weight, layer.bias))
        train(model, optimizer, 30)
    verdict = next(v for v in untroubled(scope).verdicts if v.name == "unchanged-parameter")
    assert verdict.severity == "error"


def test_a_layer_that_was_replaced_is_not_kept_alive() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 3)
        gone = weakref.ref(model[3]), weakref.ref(model[3].weight)
        model[3] = nn.Linear(16, 1)
        optimizer.param_groups[0]["params"] = list(model.parameters())
        optimizer.state.clear()
        train(model, optimizer, 3)
        gc.collect()
        assert [reference() for reference in gone] == [None, None]
    untroubled(scope)


# -- frozen and thawed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("to_none", [True, False])
def test_a_layer_is_frozen_and_thawed(build: Any, to_none: bool) -> None:
    model = mlp()
    optimizer = build(model.parameters(), lr=0.01)

    def some(steps: int) -> None:
        for x, y in batches(steps):
            optimizer.zero_grad(set_to_none=to_none)
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    with gradscope.watch(model, optimizer) as scope:
        some(10)
        model[0].requires_grad_(False)
        some(10)
        model[0].requires_grad_(True)
        some(13)
    report = untroubled(scope)
    seen = norms(scope, "0.weight")
    assert (seen[:10] > 0).all()
    assert (seen[20:] > 0).all()
    assert (seen[10:20] == (UNOBSERVED if to_none else 0)).all()
    assert (norms(scope, "3.weight") > 0).all()
    assert not names_of(report)


# -- moves -----------------------------------------------------------------------------------------------------------


def test_a_model_that_is_cast_goes_on_under_its_names() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 3)
        model.double()
        for x, y in batches(6):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x.double()), y.double()).backward()
            optimizer.step()
    untroubled(scope)
    table = scope.histories[0]["gradient"]
    assert subjects(scope) == NAMES
    assert {s.type for s in table.subjects} == {"float64"}
    assert (table.column("gradient_norm") > 0).all()


@pytest.mark.parametrize("moved", ["before the step", "between backward and step"])
def test_an_update_of_a_model_that_is_cast_in_the_middle_of_a_step_is_measured(moved: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 2)
        optimizer.zero_grad()
        if moved == "before the step":
            model.double()
        kind = model[0].weight.dtype
        x, y = next(batches(1))
        nn.functional.mse_loss(model(x.to(kind)), y.to(kind)).backward()
        model.double()
        optimizer.step()
    assert untroubled(scope) is not None
    assert all(0 < v < 10 for v in last_updates(scope.histories[0]).values())


def test_a_model_that_is_built_on_meta_and_filled_later_is_observed() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    with gradscope.watch(model) as scope:
        model.to_empty(device="cpu")
        torch.manual_seed(0)
        for layer in (model[0], model[2]):
            layer.reset_parameters()
        optimizer = sgd(model)
        train(model, optimizer, 6)
    assert untroubled(scope).watched["steps"] == 6
    assert (scope.histories[0]["gradient"].column("gradient_norm") > 0).all()


# -- copies ----------------------------------------------------------------------------------------------------------


class Average:
    """An exponential average, as it is written by hand: a deep copy that follows."""

    def __init__(self, model: nn.Module, decay: float = 0.9):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    def update(self, model: nn.Module) -> None:
        """Follows."""
        with torch.no_grad():
            for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
                mine.lerp_(its, 1 - self.decay)


@pytest.mark.parametrize("start", [0, 3, 7])
def test_an_average_that_begins_in_the_middle_follows_unseen_and_changes_nothing(start: int) -> None:
    def run(watch: bool) -> tuple[Any, Any, Scope | None]:
        model = mlp(dropout=0.2)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scope = gradscope.watch(model, optimizer) if watch else None
        torch.manual_seed(1)
        average = None
        for step, (x, y) in enumerate(batches(20)):
            if step == start:
                average = Average(model)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            if average is not None:
                average.update(model)
                average.model(1e6 * x)
        assert average is not None
        if scope is not None:
            scope.close()
        return weights_of(model), weights_of(average.model), scope

    bare, seen = run(False), run(True)
    assert same(bare[0], seen[0])
    assert same(bare[1], seen[1])
    scope = seen[2]
    assert scope is not None
    assert untroubled(scope).watched["steps"] == 20
    assert subjects(scope) == NAMES
    assert float(np.nanmax(scope.histories[0]["input"].column("abs_max"))) < 100


def test_a_model_saved_whole_is_loaded_without_the_observer() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 1)
        buffer = io.BytesIO()
        torch.save({"model": model, "optimizer": optimizer}, buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=False)
        twin, its = loaded["model"], loaded["optimizer"]
        assert same(weights_of(model), weights_of(twin))
        train(twin, its, 5)
        train(model, optimizer, 5)
    assert untroubled(scope).watched["steps"] == 6
    assert len(scope.histories) == 1


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_a_model_saved_whole_is_loaded_and_run_where_there_is_no_gradscope(steps: int, tmp_path: Path) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer):
        train(model, optimizer, steps)
        torch.save(model, tmp_path / "model.pt")
    program = (
        "import sys, torch\n"
        "sys.modules.update(gradscope=None, gradscope_torch=None)\n"
        "model = torch.load(sys.argv[1], weights_only=False)\n"
        "model(torch.ones(2, 4)).sum().backward()\n"
        "print(model[0].weight.grad is not None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.pt")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_a_copy_that_is_watched_itself_is_told_apart() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 2)
        twin = copy.deepcopy(model)
        its = sgd(twin)
        with gradscope.watch(twin, its) as other:
            train(twin, its, 7)
        train(model, optimizer, 3)
    assert [untroubled(s).watched["steps"] for s in (scope, other)] == [5, 7]
    assert (other.histories[0]["gradient"].column("gradient_norm") > 0).all()
