"""Next-hour load of a substation from the past day."""
import os
import math
import torch
from torch import nn

UNIT, OFFSET = 6000.0, 40000.0
WINDOW = 24


def load_curve(hours, gen):
    t = torch.arange(hours, dtype=torch.float32)
    daily = torch.sin(2 * math.pi * t / 24) + 0.4 * torch.sin(4 * math.pi * t / 24 + 1)
    weekly = 0.5 * torch.cos(2 * math.pi * t / 168)
    return 40000 + 6000 * (daily + weekly + 0.1 * torch.randn(hours, generator=gen))


def windows(series):
    x = series.unfold(0, WINDOW, 1)[:-1]
    return (x.unsqueeze(-1) - 40000) / 6000, series[WINDOW:].unsqueeze(-1)


class LoadForecaster(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.out(self.gru(x)[0][:, -1])


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    gen = torch.Generator().manual_seed(6)
    x, watts = windows(load_curve(2000, gen))
    y = (watts - OFFSET) / UNIT
    model = LoadForecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(10):
        for idx in torch.randperm(1600).split(40):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())
    with torch.no_grad():
        forecast = model(x[1600:]) * UNIT + OFFSET
    close = ((forecast - watts[1600:]).abs() < 2500).float().mean()
    print("METRIC within_2500_watts", close.item())


main()
