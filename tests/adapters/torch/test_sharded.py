"""Gradients that are sharded over processes, or lie on several devices, are measured whole."""

from __future__ import annotations

import json
from pathlib import Path

import gradscope
import pytest
import torch
from gradscope.history import History
from torch import nn

from gradscope_torch import measure

distributed = pytest.importorskip("torch.distributed")
accelerated = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")


def shard(rank: int, folder: str) -> None:
    """One of two processes: trains a sharded layer, and writes (true norm, recorded norm) and what failed."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.Linear(8, 8, bias=False)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    norms = []
    with gradscope.watch(model, optimizer) as scope:
        for step in range(6):
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(4, 8)).square().mean().backward()
            norms.append(model.weight.grad.full_tensor().norm().item())
            optimizer.step()
    recorded = scope.histories[0]["gradient"].column("gradient_norm")[:, 0].tolist()
    told = {"true": norms, "recorded": recorded, "failures": scope.failures}
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="needs gloo")
def test_the_norm_of_a_sharded_gradient_is_that_of_the_whole(tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed.fsdp", reason="needs fully_shard")
    torch.multiprocessing.spawn(shard, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        told = json.loads((tmp_path / f"{rank}.json").read_text())
        assert not told["failures"]
        assert told["recorded"] == pytest.approx(told["true"], rel=1e-5)


class Marked(torch.Tensor):
    """A tensor subclass."""


@pytest.mark.parametrize(
    ("tensor", "plain"),
    [
        (torch.ones(2), True),
        (nn.Parameter(torch.ones(2)), True),
        (torch.ones(2, dtype=torch.float64), True),
        (torch.ones(2, dtype=torch.bfloat16), False),
        (torch.ones(2, 2).to_sparse(), False),
        (torch.ones(2).as_subclass(Marked), False),
    ],
)
def test_only_dense_tensors_of_torch_itself_are_plain(tensor: torch.Tensor, plain: bool) -> None:
    assert measure.is_plain(tensor) is plain


def test_a_gradient_of_another_type_than_its_parameter_takes_the_slow_way() -> None:
    found = measure.norms([torch.full((4,), 3.0).as_subclass(Marked)], plain=True)
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [6.0]


def test_norms_of_several_devices_keep_their_order() -> None:
    tensors = [torch.full((n,), 2.0) for n in (4, 1, 9)]
    assert measure.norms_by_device(tensors).tolist() == [4.0, 2.0, 6.0]


def two_devices() -> History:
    """A model whose layers lie on two devices, trained."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 1).cuda()
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.01)
    with gradscope.watch([first, second], optimizer) as scope:
        for _ in range(6):
            optimizer.zero_grad()
            second(first(torch.randn(8, 4)).cuda()).square().mean().backward()
            optimizer.step()
    assert not scope.failures
    return scope.histories[0]


@accelerated
def test_a_model_on_two_devices_is_measured() -> None:
    history = two_devices()
    assert (history["gradient"].column("gradient_norm") > 0).all()
    assert (history.run("gradient_cosine")[1:3] == history.run("gradient_cosine")[1:3]).all()
