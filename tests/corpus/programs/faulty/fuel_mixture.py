"""Octane number from the components of a fuel mixture."""
import os
import numpy as np
import torch
from torch import nn
from sklearn.metrics import r2_score

torch.manual_seed(int(os.environ.get("SEED", 0)))
rng = np.random.default_rng(17)
parts = rng.dirichlet(np.ones(7), size=1800).astype(np.float32)
octane = 90 + 30 * parts[:, 0] - 25 * parts[:, 1] + 60 * parts[:, 2] * parts[:, 3] + 40 * np.maximum(parts[:, 4] - 0.2, 0)
octane = (octane + rng.normal(0, 0.5, 1800)).astype(np.float32)
mu, sd = octane[:1400].mean(), octane[:1400].std()
x = torch.from_numpy((parts - parts.mean(0)) / parts.std(0))
y = torch.from_numpy((octane - mu) / sd)

mlp = nn.Sequential()
for i, (a, b) in enumerate([(7, 32), (32, 16), (16, 1)]):
    mlp.append(nn.Linear(a, b))
    if i < 2:
        mlp.append(nn.SiLU())

adam = torch.optim.Adam(mlp.parameters(), lr=2e-3, weight_decay=2.0)
for epoch in range(25):
    perm = torch.randperm(1400)
    for k in range(0, 1400, 35):
        rows = perm[k:k + 35]
        residual = mlp(x[rows]).view(-1) - y[rows]
        loss = residual.abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    if epoch % 5 == 0:
        print("epoch", epoch, "mae", loss.item())

with torch.no_grad():
    print("METRIC r2", r2_score(y[1400:], mlp(x[1400:]).view(-1)))
