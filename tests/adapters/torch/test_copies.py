"""A watched model can be saved, copied and compiled; its copies are not watched."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import gradscope
import pytest
import torch
from torch import nn

from tests.adapters.torch.training import (
    batches,
    in_session,
    mlp,
    names_of,
    same,
    sgd,
    train,
    untroubled,
    watched,
    weights_of,
)


def saved(model: nn.Module) -> nn.Module:
    """Through torch.save of the whole model."""
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded: nn.Module = torch.load(buffer, weights_only=False)
    return loaded


def pickled(model: nn.Module) -> nn.Module:
    """Through pickle."""
    loaded: nn.Module = pickle.loads(pickle.dumps(model))
    return loaded


COPIES = pytest.mark.parametrize("make", [saved, pickled, copy.deepcopy, copy.copy])


@COPIES
@pytest.mark.parametrize("steps", [0, 2, 6])
def test_a_copy_has_the_weights_of_the_watched_model(make: Any, steps: int) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer):
        train(model, optimizer, steps)
        twin = make(model)
    assert same(weights_of(model), weights_of(twin))


@pytest.mark.parametrize("make", [saved, pickled, copy.deepcopy])
def test_training_a_copy_is_not_heard(make: Any) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 4)
        twin = make(model)
        train(twin, sgd(twin), 5)
    assert scope.histories[0].steps == 4
    assert scope.failures == {}


def test_the_forward_pass_of_a_copy_leaves_no_note() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        twin = copy.deepcopy(model)
        twin(torch.full((32, 4), 1e6))
        train(model, optimizer, 1)
    assert float(scope.histories[0]["input"].series("abs_max", "0")[0]) < 100


def test_the_state_of_an_optimizer_can_be_pickled_while_watched() -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    with gradscope.watch(model, optimizer):
        train(model, optimizer, 3)
        twin = pickle.loads(pickle.dumps(optimizer))
    assert twin.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_an_optimizer_can_be_copied_while_watched_and_its_copy_is_not_heard() -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 3)
        twin = copy.deepcopy(optimizer)
        twin.step()
    assert scope.histories[0].steps == 3


def test_a_checkpoint_can_be_saved_and_loaded_in_the_loop(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 3)
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        train(model, optimizer, 3)
    assert untroubled(scope).watched["steps"] == 6


def test_an_exponential_average_of_the_watched_model_is_updated_as_ever() -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        average = torch.optim.swa_utils.AveragedModel(model)
        for _ in range(3):
            train(model, optimizer, 2)
            average.update_parameters(model)
        average(torch.zeros(1, 4))
    assert int(average.n_averaged) == 3
    assert scope.histories[0].steps == 6


def compiled_mlp() -> nn.Module:
    """A model through torch.compile, traced but run eagerly."""
    model: Any = torch.compile(mlp(), backend="eager")
    return model


@pytest.fixture
def dynamo() -> Any:
    """Fresh caches, and torch's own deprecations not as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.compiler.reset()
        yield
        torch.compiler.reset()


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize("observer", ["watch", "session"])
def test_a_compiled_model_trains_to_the_same_weights(observer: str) -> None:
    bare = mlp()
    train(bare, sgd(bare), 6)
    model = compiled_mlp()
    optimizer = sgd(model)

    def loop() -> None:
        train(model, optimizer, 6)

    scope = watched(model, optimizer, loop) if observer == "watch" else in_session(loop)
    assert untroubled(scope).watched["steps"] == 6
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights_of(bare), weights_of(model), strict=True))


@pytest.mark.usefixtures("dynamo")
def test_the_names_of_a_compiled_model_are_those_of_the_plain_one() -> None:
    model = compiled_mlp()
    optimizer = sgd(model)
    scope = watched(model, optimizer, lambda: train(model, optimizer, 2))
    assert [s.name for s in scope.histories[0]["gradient"].subjects] == ["0.weight", "0.bias", "3.weight", "3.bias"]


@pytest.mark.usefixtures("dynamo")
def test_what_a_compiled_model_hides_is_said() -> None:
    model = compiled_mlp()
    optimizer = sgd(model)
    scope = watched(model, optimizer, lambda: train(model, optimizer, 6))
    assert scope.report().watched["limits"] == {
        "activations": "the model is compiled by torch.compile: what its modules put out is not seen"
    }


@pytest.mark.usefixtures("dynamo")
def test_a_model_compiled_in_place_is_watched() -> None:
    model = mlp()
    model.compile(backend="eager")
    optimizer = sgd(model)
    scope = watched(model, optimizer, lambda: train(model, optimizer, 6))
    assert "activations" in untroubled(scope).watched["limits"]


@pytest.mark.usefixtures("dynamo")
def test_the_illness_of_a_compiled_model_is_found() -> None:
    model = compiled_mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(20):
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    assert "stale-gradient" in names_of(untroubled(watched(model, optimizer, loop)))
