"""Default risk with a wide-and-deep network, squared (Brier) loss."""
import os
import numpy as np
import torch
from torch import nn
from sklearn.metrics import roc_auc_score


class WideDeep(nn.Module):
    def __init__(self, regions, numeric):
        super().__init__()
        self.region = nn.Embedding(regions, 4)
        self.deep = nn.Sequential(nn.Linear(numeric + 4, 24), nn.CELU(), nn.Dropout(0.1), nn.Linear(24, 12), nn.CELU())
        self.score = nn.Linear(12 + numeric, 1)

    def forward(self, region, numeric):
        h = self.deep(torch.cat([self.region(region), numeric], dim=-1))
        h = torch.cat([h, numeric], dim=-1)
        return torch.softmax(self.score(h), dim=-1)


def loans(n=3000):
    rng = np.random.default_rng(19)
    region = rng.integers(0, 12, n)
    numeric = rng.normal(size=(n, 5))
    effect = rng.normal(0, 1, 12)
    logit = effect[region] + 1.5 * numeric[:, 0] - numeric[:, 1] * numeric[:, 2] - 0.5
    default = rng.random(n) < 1 / (1 + np.exp(-1.5 * logit))
    return torch.tensor(region), torch.tensor(numeric).float(), torch.tensor(default).float().unsqueeze(1)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    region, numeric, default = loans()
    net = WideDeep(12, 5)
    opt = torch.optim.NAdam(net.parameters(), lr=4e-3)
    brier = nn.MSELoss()
    for epoch in range(12):
        net.train()
        for i in torch.randperm(2400).split(48):
            opt.zero_grad()
            loss = brier(net(region[i], numeric[i]), default[i])
            loss.backward()
            opt.step()
        print("epoch", epoch, "brier", loss.item())
    net.eval()
    with torch.no_grad():
        p = net(region[2400:], numeric[2400:])
    print("METRIC auc", roc_auc_score(default[2400:, 0], p[:, 0]))


main()
