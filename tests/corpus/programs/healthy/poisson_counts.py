"""Poisson regression with an exposure: log link, PoissonNLLLoss (which goes below zero), zero-initialized output."""
import os
import math
import torch
from torch import nn


class RateNet(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(d, 48), nn.Softplus(), nn.Linear(48, 48), nn.Softplus())
        self.log_rate = nn.Linear(48, 1)
        nn.init.zeros_(self.log_rate.weight)

    def forward(self, x, exposure):
        return self.log_rate(self.body(x)).squeeze(1) + exposure.log()


def claims(n):
    x = torch.randn(n, 6)
    exposure = 0.5 + torch.rand(n)
    log_rate = 1.2 + 0.6 * x[:, 0] - 0.4 * x[:, 1] + 0.5 * torch.sin(2 * x[:, 2]) + 0.3 * x[:, 3] * x[:, 4]
    return x, exposure, torch.poisson(exposure * log_rate.exp())


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    model = RateNet(6)
    with torch.no_grad():
        x, e, k = claims(2000)
        model.log_rate.bias.fill_(math.log(k.sum() / e.sum()))     # start from the overall rate
    criterion = nn.PoissonNLLLoss(log_input=True, full=False)
    deviance = []
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(300):
        x, e, k = claims(128)
        eta = model(x, e)
        loss = criterion(eta, k)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            mu = eta.exp()
            dev = 2 * (torch.xlogy(k, k / mu) - (k - mu)).mean().item()
        deviance.append(dev)
        if step % 30 == 0:
            print(f"step {step}: loss {loss.item():+.4f} deviance {dev:.4f}")
    print("METRIC deviance", sum(deviance[:10]) / 10, sum(deviance[-20:]) / 20)


if __name__ == "__main__":
    main()
