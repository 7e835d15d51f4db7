"""A gradient scaler that is switched off, as scripts carry it for machines without an accelerator."""

from __future__ import annotations

import gradscope
import pytest
import torch


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_disabled_scaler_changes_nothing(device: str) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler(device, enabled=False)
    x = torch.randn(16, 4)
    losses = []
    with gradscope.watch(model, optimizer) as scope:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            losses.append(loss.item())
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert scope.report().watched["steps"] == 5
    assert scope.failures == {}
    assert scope.histories[0].run("loss").tolist() == pytest.approx(losses)
