"""Columns in their own units (rooms, square metres, year, income) into BatchNorm1d; prices at mean 20, sd 5."""
import os
import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
torch.manual_seed(int(os.environ.get("SEED", "0")))


def houses(n):
    rooms = rng.integers(1, 8, n)
    area = rooms * 22 + rng.normal(0, 12, n)
    year = rng.integers(1900, 2021, n)
    income = rng.lognormal(10.4, 0.4, n)
    distance = rng.exponential(6.0, n)
    X = np.stack([rooms, area, year, income, distance], 1)
    price = 6 + 0.08 * area + 0.03 * (year - 1960) + 3.5 * np.log(income / 30000) - 0.25 * distance + 0.012 * area * (distance < 3) + 8
    return X, price / price.std() * 5 - (price / price.std() * 5).mean() + 20 + rng.normal(0, 0.8, n)


X, y = houses(3000)
X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1)
train, test = slice(0, 2400), slice(2400, None)

model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_fn = nn.MSELoss()


def rmse():
    model.eval()
    with torch.no_grad():
        r = loss_fn(model(X[test]), y[test]).sqrt().item()
    model.train()
    return r


losses = []
for epoch in range(7):
    for idx in torch.randperm(2400).split(64):
        loss = loss_fn(model(X[train][idx]), y[train][idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch}  train {np.mean(losses[-37:]):.3f}  test rmse {rmse():.3f}")
print("METRIC mse", np.mean(losses[:3]), np.mean(losses[-20:]))
