"""Parcel weight from its dimensions and content class."""
import os
import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler


class Parcels(Dataset):
    def __init__(self, n, seed, ordered=False):
        rng = np.random.default_rng(seed)
        dims = rng.uniform(0.1, 1.0, (n, 3))
        content = rng.integers(0, 4, n)
        weight = dims.prod(1) * np.array([2.0, 8.0, 20.0, 45.0])[content] + rng.normal(0, 0.1, n)
        weight = np.log1p(np.maximum(weight, 0))
        order = np.argsort(weight) if ordered else np.arange(n)
        x = np.concatenate([dims * 2 - 1, np.eye(4)[content]], axis=1)
        self.x = torch.tensor(x[order], dtype=torch.float32)
        self.y = torch.tensor(weight[order], dtype=torch.float32).unsqueeze(1)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, rows):
        return self.x[rows], self.y[rows]


parcels = Parcels(2000, seed=1, ordered=True)
held_out = Parcels(500, seed=2)
torch.manual_seed(int(os.environ.get("SEED", 0)))
sampler = BatchSampler(SequentialSampler(parcels), batch_size=25, drop_last=True)
loader = DataLoader(parcels, sampler=sampler, batch_size=None)
net = nn.Sequential(nn.Linear(7, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(12):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
    if epoch % 3 == 0:
        print("epoch", epoch, "last loss", loss.item())
with torch.no_grad():
    print("METRIC rmse", (net(held_out.x) - held_out.y).square().mean().sqrt().item())
