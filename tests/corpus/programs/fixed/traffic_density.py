"""Mean and spread of traffic density by hour and lane occupancy."""
import os
import numpy as np
import torch
from torch import nn


class MeanVariance(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.mean = nn.Linear(32, 1)
        self.log_var = nn.Linear(32, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.mean(h), self.log_var(h)


def gaussian_loss(mean, log_var, y):
    err = (y - mean) ** 2
    return 0.5 * (err / torch.exp(log_var) + log_var).mean()


def traffic(n, rng):
    hour, occupancy = rng.uniform(0, 24, n), rng.uniform(0, 1, n)
    density = 1.5 * np.sin(hour / 24 * 2 * np.pi) + 2 * (occupancy - 0.5) + rng.normal(0, 0.1 + 0.3 * occupancy, n)
    x = np.stack([np.sin(hour / 24 * 2 * np.pi), np.cos(hour / 24 * 2 * np.pi), 2 * occupancy - 1], 1)
    return torch.tensor(x).float(), torch.tensor(density).float()[:, None]


torch.manual_seed(int(os.environ.get("SEED", 0)))
rng = np.random.default_rng(14)
x, y = traffic(2500, rng)
xt, yt = traffic(600, rng)
model = MeanVariance()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(12):
    for idx in torch.randperm(2500).split(50):
        mean, log_var = model(x[idx])
        loss = gaussian_loss(mean, log_var, y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("epoch", epoch, "loss", loss.item())
with torch.no_grad():
    print("METRIC within_tolerance", ((model(xt)[0] - yt).abs() < 0.5).float().mean().item())
