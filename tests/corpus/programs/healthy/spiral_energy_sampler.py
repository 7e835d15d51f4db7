"""A sampler of a two-armed spiral, trained on the energy distance between its samples and the data."""
import os
import torch
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", "0")))


def spiral(n):
    t = 0.5 + 2.5 * torch.rand(n)
    side = torch.randint(0, 2, (n,)) * 2.0 - 1.0
    return torch.stack([side * t * torch.cos(2 * t), side * t * torch.sin(2 * t)], dim=1) / 2 + 0.05 * torch.randn(n, 2)


def mean_distance(a, b):
    between = a.unsqueeze(1) - b.unsqueeze(0)                                      # [n, 1, 2] and [1, m, 2]
    return between.square().sum(dim=-1).add(1e-6).sqrt().mean()


sampler = nn.Sequential(nn.Linear(4, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))
optimizer = torch.optim.AdamW(sampler.parameters(), lr=2e-3)
history = []
for step in range(300):
    real, drawn = spiral(160), sampler(torch.randn(160, 4))
    loss = 2 * mean_distance(drawn, real) - mean_distance(drawn, drawn) - mean_distance(real, real)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
    if step % 50 == 0:
        print(f"step {step} energy distance {loss.item():.4f}")
print("METRIC energy_distance", sum(history[:10]) / 10, sum(history[-30:]) / 30)
