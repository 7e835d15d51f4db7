"""Where will the satellite be? Position angles after a short time, from the state vector."""
import os
import torch
from torch import nn
from torch.nn import functional as F


def states(n, generator):
    s = torch.randn(n, 4, generator=generator)
    t = torch.rand(n, 1, generator=generator) * 2
    pos = s[:, :2] * torch.cos(t) + s[:, 2:] * torch.sin(t)
    return torch.cat([s, t - 1], dim=1), pos


class Propagator(nn.Module):
    def __init__(self, widths=(64, 64, 32)):
        super().__init__()
        sizes = (5,) + tuple(widths)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes[:-1], sizes[1:]))
        self.out = nn.Linear(sizes[-1], 2)

    def forward(self, s):
        for layer in self.layers:
            s = F.relu(layer(s))
        return self.out(s)


def r2(pred, true):
    return (1 - (pred - true).pow(2).sum() / (true - true.mean(0)).pow(2).sum()).item()


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    g = torch.Generator().manual_seed(12)
    x, y = states(3000, g)
    xv, yv = states(600, g)
    net = Propagator()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5)
    for step in range(800):
        pick = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        loss = F.huber_loss(net(x[pick]), y[pick])
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print("step", step, "loss", loss.item())
    with torch.no_grad():
        print("METRIC r2", r2(net(xv), yv))


main()
