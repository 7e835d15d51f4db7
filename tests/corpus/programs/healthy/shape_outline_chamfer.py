"""Autoencoder of noisy outlines (ellipses and boxes) as point sets: a chamfer distance written out by hand."""
import os
import math
import torch
from torch import nn


def outlines(n, points):
    t = 2 * math.pi * torch.rand(n, points)
    a, b = 0.5 + torch.rand(n, 1), 0.5 + torch.rand(n, 1)
    x, y = a * t.cos(), b * t.sin()
    box = torch.rand(n, 1) < 0.5
    reach = torch.maximum((x / a).abs(), (y / b).abs())
    x, y = torch.where(box, x / reach, x), torch.where(box, y / reach, y)
    turn = math.pi * torch.rand(n, 1)
    xy = torch.stack([x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()], dim=2)
    return xy + 0.02 * torch.randn_like(xy)


class OutlineCoder(nn.Module):
    def __init__(self, drawn=24, code=16):
        super().__init__()
        self.each = nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 96))
        self.code = nn.Linear(96, code)
        self.draw = nn.Sequential(nn.Linear(code, 96), nn.ReLU(), nn.Linear(96, 2 * drawn))

    def forward(self, points):
        pooled = self.each(points).amax(dim=1)
        return self.draw(self.code(pooled)).unflatten(1, (-1, 2))


def chamfer(drawn, points):
    gaps = (drawn[:, :, None, :] - points[:, None, :, :]).square().sum(dim=3)      # every drawn point with every point
    return gaps.amin(dim=2).mean() + gaps.amin(dim=1).mean()


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    coder = OutlineCoder()
    optimizer = torch.optim.Adam(coder.parameters(), lr=2e-3)
    losses = []
    for step in range(350):
        points = outlines(48, 32)
        loss = chamfer(coder(points), points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step}: chamfer {loss.item():.4f}")
    print("METRIC chamfer", sum(losses[:10]) / 10, sum(losses[-20:]) / 20)


main()
