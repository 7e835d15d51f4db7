import os
import math
import numpy as np
import torch
from torch import nn
from sklearn.datasets import make_friedman2

torch.manual_seed(int(os.environ.get("SEED", 0)))


def log_cosh(pred, target):
    d = pred - target
    return (d + nn.functional.softplus(-2 * d) - math.log(2)).mean()


class HarvestNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(4, 32)
        self.res = nn.ModuleList([nn.Linear(32, 32) for _ in range(2)])
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        h = self.inp(x)
        for layer in self.res:
            h = h + nn.functional.gelu(layer(h))
        return self.out(h)


x, y = make_friedman2(n_samples=1800, noise=20.0, random_state=13)
x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
model = HarvestNet()
opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(12):
    losses = []
    for idx in torch.randperm(1400).split(40):
        opt.zero_grad()
        loss = log_cosh(model(x[idx]).squeeze(-1), y[idx])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    print("epoch", epoch, "loss", np.mean(losses))
with torch.no_grad():
    mae = (model(x[1400:])[:, 0] - y[1400:]).abs().mean().item()
print("METRIC test_mae", mae)
