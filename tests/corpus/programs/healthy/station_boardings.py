"""Passengers who board per hour, in the hundreds: Poisson likelihood of log rates around 6 that differ by a tenth."""
import os
import torch
import torch.nn.functional as F
from torch import nn


class Boardings(nn.Module):
    def __init__(self, stations=12):
        super().__init__()
        self.station = nn.Embedding(stations, 6)
        self.rest = nn.Sequential(nn.Linear(10, 40), nn.Tanh(), nn.Linear(40, 1))

    def forward(self, station, weather):
        return self.rest(torch.cat([self.station(station), weather], dim=1))


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    offset = 0.08 * torch.randn(12)
    station, weather = torch.randint(0, 12, (5000,)), torch.randn(5000, 4)
    log_rate = 6.3 + offset[station] + 0.09 * torch.tanh(weather[:, 0] - weather[:, 1]) + 0.04 * weather[:, 2].cos()
    boarded = torch.poisson(log_rate.exp()).unsqueeze(1)
    net = Boardings()
    optimizer = torch.optim.Adam(net.parameters(), lr=1.5e-2)
    for step in range(400):
        rows = torch.randint(0, 4500, (200,))
        loss = F.poisson_nll_loss(net(station[rows], weather[rows]), boarded[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 80 == 0:
            print("step", step, "negative log likelihood", loss.item())
    with torch.no_grad():
        rest = net(station[4500:], weather[4500:]).exp() - boarded[4500:]
    print("METRIC r2", 0.0, 1 - (rest.square().mean() / boarded[4500:].var()).item())


main()
