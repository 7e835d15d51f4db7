"""Soil moisture at a probe from eight weather variables; micro-batches to fit on the field laptop."""
import argparse
import os

import torch
from torch import nn

ACCUMULATE = 4


def field_data(n, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=g)
    y = torch.tanh(x[:, 0] + 0.5 * x[:, 1]) + 0.6 * x[:, 2] * (x[:, 3] > 0) - 0.3 * x[:, 4].abs()
    return x, (y + 0.1 * torch.randn(n, generator=g)).unsqueeze(1)


class Trainer:
    def __init__(self, net, lr):
        self.net = net
        self.opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.8)
        self.loss = nn.MSELoss()

    def epoch(self, x, y, micro=16):
        total = 0.0
        for i, idx in enumerate(torch.randperm(len(x)).split(micro), start=1):
            loss = self.loss(self.net(x[idx]), y[idx]) / ACCUMULATE
            loss.backward()
            total += loss.item() * ACCUMULATE
            if i % ACCUMULATE == 0:
                self.opt.step()
                self.opt.zero_grad()
        return total / i


def main(args):
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = field_data(2048, 1)
    xv, yv = field_data(600, 2)
    net = nn.Sequential(nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 1))
    trainer = Trainer(net, args.lr)
    for epoch in range(args.epochs):
        value = trainer.epoch(x, y)
        if epoch % 3 == 0:
            print(f"[{epoch:02d}] train {value:.4f}")
    with torch.no_grad():
        print("METRIC within_tolerance", ((net(xv) - yv).abs() < 0.3).float().mean().item())


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--lr", type=float, default=0.04)
    p.add_argument("--epochs", type=int, default=15)
    main(p.parse_args())
