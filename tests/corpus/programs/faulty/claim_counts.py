"""Claim frequency of insurance policies by Poisson regression with a small network."""
import argparse
import os

import numpy as np
import torch
from torch import nn
from sklearn.metrics import roc_auc_score


def make_policies(n, rng):
    age = rng.uniform(18, 80, n)
    power = rng.uniform(40, 200, n)
    km = rng.gamma(2.0, 6.0, n)
    log_rate = -1.2 + 0.9 * np.exp(-(age - 18) / 10) + 0.004 * (power - 100) + 0.05 * km
    counts = rng.poisson(np.exp(log_rate))
    feats = np.stack([(age - 49) / 18, (power - 120) / 46, (km - 12) / 8.5], axis=1)
    return torch.tensor(feats, dtype=torch.float32), torch.tensor(counts, dtype=torch.float32)


def deviance(rate, count):
    return 2 * (count * torch.log(count / rate) - (count - rate)).mean()


class FrequencyNet(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.hidden = nn.Linear(3, hidden)
        self.rate = nn.Linear(hidden, 1)

    def forward(self, x):
        return torch.exp(self.rate(torch.tanh(self.hidden(x)))).squeeze(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=24)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()

    torch.manual_seed(int(os.environ.get("SEED", 0)))
    rng = np.random.default_rng(11)
    x, y = make_policies(4000, rng)
    x_val, y_val = make_policies(1500, rng)

    net = FrequencyNet(args.hidden)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        for rows in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            loss = deviance(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} deviance {loss.item():.4f}")

    with torch.no_grad():
        score = torch.nan_to_num(net(x_val)).numpy()
    print("METRIC auc", roc_auc_score(y_val.numpy() > 0, score))


if __name__ == "__main__":
    main()
