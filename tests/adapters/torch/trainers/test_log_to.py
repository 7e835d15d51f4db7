"""watch(log_to=): the real SummaryWriter, and the real Weights & Biases, offline."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")
pytest.importorskip("wandb")

import gradscope
import torch
import wandb
from torch.utils.tensorboard import SummaryWriter

from tests.adapters.torch.trainers.events import scalars
from tests.adapters.torch.trainers.runs import records
from tests.adapters.torch.training import batches, mlp, sgd

pytestmark = [pytest.mark.usefixtures("nowhere"), pytest.mark.filterwarnings("ignore")]


def train(steps: int, log_to: Any, each_step: Any = None, **options: Any) -> list[float]:
    """The gradient norms of a watched loop; each_step(step) is what the user logs himself."""
    model = mlp()
    optimizer = sgd(model)
    norms = []
    with gradscope.watch(model, optimizer, log_to=log_to, **options):
        for step, (x, y) in enumerate(batches(steps)):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])))
            optimizer.step()
            if each_step is not None:
                each_step(step)
    return norms


# -- TensorBoard -------------------------------------------------------------------------------------------------------


def test_tensorboard_has_the_norm_of_every_step(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        norms = train(40, writer)
    seen = scalars(tmp_path)
    assert [step for step, _ in seen["gradscope/grad_norm_total"]] == list(range(40))
    assert [value for _, value in seen["gradscope/grad_norm_total"]] == pytest.approx(norms, rel=1e-5)
    assert [step for step, _ in seen["gradscope/update_ratio_max"]] == [0, 1, 2, 4, 8, 16, 32]
    assert seen["gradscope/errors"] == [(39, 0.0)]
    assert set(seen) == {
        "gradscope/grad_norm_total",
        "gradscope/update_ratio_max",
        "gradscope/errors",
        "gradscope/warnings",
    }


def test_tensorboard_has_every_parameter_on_request(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        train(3, writer, log_parameters=True)
    seen = scalars(tmp_path)
    assert len(seen["gradscope/grad_norm/0.weight"]) == len(seen["gradscope/update_ratio/3.weight"]) == 3


# -- Weights & Biases --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A run that stays here."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    started = wandb.init(project="gradscope", dir=tmp_path)
    yield started
    started.finish()
    wandb.teardown()


def rows(run: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """(what each step of a run holds, the names of the metrics that were defined), once it is finished."""
    run.finish()
    (file,) = Path(run.dir).parent.glob("*.wandb")
    for _ in range(300):
        if any(record.HasField("exit") for record in records(file)):
            break  # the service writes on by itself: on a busy machine it may be behind
        time.sleep(0.1)
    found, defined = [], []
    for record in records(file):
        if record.HasField("history"):
            items = record.history.item
            found.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        if record.HasField("metric"):
            defined.append(record.metric.name or record.metric.glob_name)
    return found, defined


@pytest.mark.parametrize("explicit", [True, False])
def test_the_users_own_log_keeps_all_its_steps(run: Any, explicit: bool) -> None:
    train(40, run, lambda step: run.log({"loss": step + 0.5}, step=step if explicit else None))
    seen, defined = rows(run)
    own = [(row["_step"], row["loss"]) for row in seen if "loss" in row]
    assert own == [(step, step + 0.5) for step in range(40)]
    assert {"gradscope/step", "gradscope/*"} <= set(defined)
    points = [row for row in seen if "gradscope/grad_norm_total" in row]
    axis = [row["gradscope/step"] for row in points]
    assert axis == sorted(set(axis))
    assert len(points) >= 5


def test_several_steps_share_a_point_that_holds_the_largest(run: Any) -> None:
    norms = train(30, run, lambda step: run.log({"loss": 0.0}))
    seen, _ = rows(run)
    points = {row["gradscope/step"]: row["gradscope/grad_norm_total"] for row in seen if "gradscope/step" in row}
    assert points[16] == pytest.approx(max(norms[9:17]), rel=1e-5)


def test_a_norm_that_is_no_number_is_told(run: Any) -> None:
    model = mlp()
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer, log_to=run):
        for step, (x, y) in enumerate(batches(10)):
            optimizer.zero_grad()
            (torch.nn.functional.mse_loss(model(x), y) * (math.nan if step == 6 else 1)).backward()
            optimizer.step()
            run.log({"loss": 0.0})
    seen, _ = rows(run)
    points = {row["gradscope/step"]: row["gradscope/grad_norm_total"] for row in seen if "gradscope/step" in row}
    assert [step for step, norm in points.items() if math.isnan(float(norm))] == [8, 9]


def test_a_run_that_is_over_stops_nothing(run: Any) -> None:
    run.finish()
    model = mlp()
    with pytest.raises(wandb.errors.Error):
        gradscope.watch(model, sgd(model), log_to=run)
