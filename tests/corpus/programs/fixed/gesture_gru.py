import os
import math
import torch
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", 0)))
STEPS, KINDS = 25, 5


def gestures(n, gen):
    kind = torch.randint(KINDS, (n,), generator=gen)
    t = torch.linspace(0, 1, STEPS)[None, :]
    phase = 0.6 * torch.rand(n, 1, generator=gen)
    freq = (1 + kind.float() * 0.6)[:, None]
    x = torch.stack([torch.cos(2 * math.pi * freq * t + phase), torch.sin(2 * math.pi * freq * t + phase)], dim=-1)
    return x + 0.3 * torch.randn(n, STEPS, 2, generator=gen), kind


class GestureNet(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.gru = nn.GRU(2, hidden, batch_first=True)
        self.head = nn.Linear(hidden, KINDS)

    def forward(self, x):
        _, h = self.gru(x)
        return self.head(h[-1])


def train_epoch(net, optimizer, xs, ys, batch=32):
    net.train()
    for idx in torch.randperm(len(xs)).split(batch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(xs[idx]), ys[idx])
        loss.backward()
        optimizer.step()
    return loss.item()


gen = torch.Generator().manual_seed(77)
xs, ys = gestures(1500, gen)
xv, yv = gestures(600, gen)
net = GestureNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(10):
    print("epoch", epoch, train_epoch(net, optimizer, xs, ys))
net.eval()
with torch.no_grad():
    print("METRIC accuracy", (net(xv).argmax(1) == yv).float().mean().item())
