"""A step that is not finite in one of two processes that train a model together: both do the same, and none waits."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import gradscope
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

FAILS, STEPS = 3, 6


class Net(nn.Module):
    """talks: its forward pass waits for the other process."""

    def __init__(self, talks: bool):
        super().__init__()
        self.stem, self.head, self.talks = nn.Linear(4, 4), nn.Linear(4, 1), talks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x).relu()
        if self.talks:
            mean = h.detach().mean().clone()
            dist.all_reduce(mean)
            h = h + 0 * mean
        return self.head(h)


def work(rank: int, talks: bool, policy: str, port: int, folder: str) -> None:
    """One process. In the first one a loss is infinite, whose gradients are finite."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(Net(talks))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(rank)
    with gradscope.watch(model, optimizer, on_nonfinite=policy) as scope:
        for step in range(STEPS):
            loss = model(torch.randn(4, 4)).mean()
            if step == FAILS and rank == 0:
                loss = loss + torch.tensor(float("inf"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = [str(h.facts.get("origin", "")) for h in scope.histories]
        told = {
            "skipped": scope.skipped_steps,
            "origin": found[0],
            "limits": scope.limits,
            "failures": scope.failures,
            "weight": model.module.stem.weight.sum().item(),
        }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(told))
    dist.barrier()  # gloo aborts where a peer leaves first
    dist.destroy_process_group()


def both(tmp_path: Path, talks: bool, policy: str) -> list[dict]:
    """What both processes tell."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, args=(talks, policy, port, str(tmp_path)), nprocs=2)
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("talks", [False, True])
def test_a_step_is_withheld_in_all_processes_or_in_none(tmp_path: Path, talks: bool) -> None:
    first, second = both(tmp_path, talks, "skip")
    assert first["skipped"] == second["skipped"] == 1
    assert first["weight"] == second["weight"]
    assert first["failures"] == second["failures"] == {}
    assert ("add" in first["origin"]) is not talks


def test_a_model_whose_forward_pass_waits_for_others_is_not_run_again(tmp_path: Path) -> None:
    first, second = both(tmp_path, True, "report")
    assert first["origin"] == ""
    assert "communicates with other processes" in first["limits"]["first cause"]
    assert second["limits"] == {}
