"""Masked autoregressive flow: masked weights (their masked entries never get a gradient), identity at the start."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F


class MaskedLinear(nn.Linear):
    def __init__(self, i, o, mask):
        super().__init__(i, o)
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    def __init__(self, d, h=64):
        super().__init__()
        deg_in, deg_h = torch.arange(1, d + 1), torch.arange(h) % (d - 1) + 1
        self.a = MaskedLinear(d, h, (deg_h[:, None] >= deg_in).float())
        self.b = MaskedLinear(h, h, (deg_h[:, None] >= deg_h).float())
        self.c = MaskedLinear(h, 2 * d, (deg_in.repeat(2)[:, None] > deg_h).float())
        nn.init.zeros_(self.c.weight)
        nn.init.zeros_(self.c.bias)

    def forward(self, x):
        shift, log_scale = self.c(torch.relu(self.b(torch.relu(self.a(x))))).chunk(2, 1)
        log_scale = 2 * torch.tanh(log_scale / 2)
        return (x - shift) * torch.exp(-log_scale), -log_scale.sum(1)


class Flow(nn.Module):
    def __init__(self, d, n=4):
        super().__init__()
        self.layers = nn.ModuleList(MADE(d) for _ in range(n))

    def log_prob(self, x):
        total = 0
        for layer in self.layers:
            x, logdet = layer(x)
            x, total = x.flip(1), total + logdet
        return total - 0.5 * (x ** 2 + 1.8378770664).sum(1)


def data(n):
    a = torch.randn(n, 4)
    x2 = 0.25 * a[:, 1] + 0.5 * a[:, 0] ** 2 - 0.5
    x3 = torch.sin(2 * a[:, 0]) + 0.15 * a[:, 2]
    x4 = 0.6 * x2 * x3 + 0.1 * a[:, 3]
    return torch.stack([a[:, 0], x2, x3, x4], 1)


torch.manual_seed(int(os.environ.get("SEED", "0")))
flow = Flow(4)
opt = torch.optim.Adam(flow.parameters(), lr=3e-3)
nll = []
for step in range(280):
    loss = -flow.log_prob(data(200)).mean()
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
    opt.step()
    nll.append(loss.item())
    if step % 28 == 0:
        print(step, round(loss.item(), 4))
print("METRIC nll", sum(nll[:3]) / 3, sum(nll[-20:]) / 20)
