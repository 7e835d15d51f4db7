"""Quantile regression: predictions [N, 5] against targets [N, 1], a broadcast that is meant."""
import os
import torch
import torch.nn as nn

QUANTILES = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])


def pinball(pred, target):
    assert pred.shape[1] == len(QUANTILES) and target.shape[1] == 1
    err = target - pred
    return torch.maximum(QUANTILES * err, (QUANTILES - 1) * err).mean()


def data(n):
    """Load of a grid: hour of day, temperature; the spread depends on the hour."""
    hour, temp = 24 * torch.rand(n), 10 + 8 * torch.randn(n)
    mean = 2 * torch.sin(hour / 24 * 2 * torch.pi) + 0.01 * (temp - 15) ** 2
    y = mean + (0.1 + 0.4 * (hour > 12)) * torch.randn(n)
    angle = hour / 24 * 2 * torch.pi
    return torch.stack([angle.sin(), angle.cos(), (hour > 12).float(), (temp - 10) / 8], 1), y[:, None]


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    net = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 5))
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for step in range(250):
        x, y = data(128)
        loss = pinball(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if step % 25 == 0:
            print(step, round(loss.item(), 4))
    x, y = data(4000)
    print("coverage", [(y <= q).float().mean().item() for q in net(x).detach().split(1, 1)])
    print("METRIC pinball", sum(losses[:3]) / 3, sum(losses[-20:]) / 20)


main()
