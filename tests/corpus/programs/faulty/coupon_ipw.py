"""Response to a coupon, corrected for who got one by inverse propensity weights."""
import os
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from sklearn.metrics import roc_auc_score

torch.manual_seed(int(os.environ.get("SEED", 0)))
rng = np.random.default_rng(8)


def customers(n):
    x = rng.normal(size=(n, 6))
    propensity = 1 / (1 + np.exp(-1.5 * x[:, 0] - 0.5))
    rare = rng.random(n) < 0.002
    propensity[rare] = 10.0 ** rng.uniform(-5, -4, rare.sum())
    logit = 1.5 * x[:, 1] - x[:, 2] * (x[:, 3] > 0) + 0.8 * np.sin(2 * x[:, 4])
    bought = rng.random(n) < 1 / (1 + np.exp(-2 * logit))
    f = lambda a: torch.tensor(a, dtype=torch.float32)
    return f(x), f(propensity), f(bought)


class Response(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(6, 32), nn.Linear(32, 16), nn.Linear(16, 1)

    def forward(self, x):
        return self.l3(F.relu(self.l2(F.relu(self.l1(x))))).squeeze(1)


x, propensity, bought = customers(3000)
x_val, _, bought_val = customers(1000)
weight = 1.0 / propensity
net = Response()
opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
for epoch in range(14):
    running = 0.0
    for idx in torch.randperm(3000).split(40):
        bce = F.binary_cross_entropy_with_logits(net(x[idx]), bought[idx], reduction="none")
        loss = (weight[idx] * bce).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        running += loss.item()
    print("epoch", epoch, "weighted loss", running / 75)

with torch.no_grad():
    print("METRIC auc", roc_auc_score(bought_val, torch.nan_to_num(net(x_val))))
