"""Weights that no process holds whole are told from those that one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradscope
import pytest
import torch
from torch import nn

from gradscope_torch.sharding import is_sharded

distributed = pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="needs gloo"
)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of this one process."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def net() -> nn.Module:
    """A small model."""
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 2)))


def first(model: nn.Module, **options: Any) -> nn.Module:
    """By FSDP1."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    made: nn.Module = FullyShardedDataParallel(model, device_id=torch.device("cpu"), **options)
    return made


def second(model: nn.Module) -> nn.Module:
    """By FSDP2."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    return model


WAYS: dict[str, Any] = {
    "FSDP1": first,
    "FSDP1, parameters as they were": lambda m: first(m, use_orig_params=True),
    "FSDP2": second,
    "FSDP1 around a part": lambda m: nn.Sequential(m[0], first(m[1])),
    "FSDP1, seen from inside": lambda m: first(m).module,
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore")
def test_a_sharded_model_is_told(way: str) -> None:
    assert not is_sharded([net()])
    assert is_sharded([net(), WAYS[way](net())])


@pytest.mark.usefixtures("alone")
def test_averaging_gradients_over_processes_shards_nothing() -> None:
    assert not is_sharded([nn.parallel.DistributedDataParallel(net())])


@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [first, second])
def test_no_bundle_of_a_sharded_model_is_saved(tmp_path: Path, make: Any) -> None:
    pytest.importorskip("safetensors")
    model = make(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, on_nonfinite_save=tmp_path / "saved") as scope:
        (model(torch.ones(2, 3)) / 0).sum().backward()
        optimizer.step()
    assert not list(tmp_path.glob("saved/*"))
    assert "sharded over processes" in scope.limits["the failing step was not saved"]
