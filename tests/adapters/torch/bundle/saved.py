"""A bundle to tamper with, and what tampers with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradscope
import torch
from torch import nn

from gradscope_torch.bundle.writing import INDEX, digest_of, digest_of_file


def save(folder: Path, steps: int = 1, **options: Any) -> Path:
    """A bundle of a small net whose loss divides by zero; its data and its buffer go through three calls."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    optimizer = torch.optim.Adam(net.parameters())
    with gradscope.watch(net, optimizer, on_nonfinite_save=folder, **options) as scope:
        for _ in range(steps):
            loss = (net(torch.rand(6, 4)) / torch.zeros(3)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert not scope.failures, scope.failures
    return sorted(folder.iterdir())[-1]


def index_of(bundle: Path) -> dict[str, Any]:
    """What bundle.json says."""
    found: dict[str, Any] = json.loads((bundle / INDEX).read_text())
    return found


def sealed(bundle: Path, index: dict[str, Any]) -> None:
    """Writes bundle.json anew, all checksums made right."""
    for name, said in index["files"].items():
        if (bundle / name).is_file():
            said |= {"bytes": (bundle / name).stat().st_size, "sha256": digest_of_file(bundle / name)}
    index["sha256"] = digest_of(index)
    (bundle / INDEX).write_text(json.dumps(index))
