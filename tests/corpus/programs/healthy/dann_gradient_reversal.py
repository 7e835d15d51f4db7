"""Domain-adversarial training: the domain loss is meant to go up to log 2, its gradient is reversed into the features."""
import math
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import make_moons


class GradReverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, lam):
        ctx.lam = lam
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.lam * g, None


class DANN(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature = nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU())
        self.label = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))
        self.domain = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))

    def forward(self, x, lam):
        f = self.feature(x)
        return self.label(f), self.domain(GradReverse.apply(f, lam))


def main():
    seed = int(os.environ.get("SEED", "0"))
    torch.manual_seed(seed)
    xs, ys = make_moons(1000, noise=0.08, random_state=seed)
    xt, yt = make_moons(1000, noise=0.08, random_state=seed + 100)
    angle = math.radians(25)
    xt = (xt - [0.5, 0.25]) @ [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    xs = xs - [0.5, 0.25]
    xs, xt = (torch.tensor(a, dtype=torch.float32) for a in (xs, xt))
    ys, yt = torch.tensor(ys), torch.tensor(yt)
    net = DANN()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    steps, label_losses = 300, []
    for i in range(steps):
        lam = 0.3 * (2 / (1 + math.exp(-10 * i / steps)) - 1)
        a, b = torch.randint(1000, (64,)), torch.randint(1000, (64,))
        out_s, dom_s = net(xs[a], lam)
        _, dom_t = net(xt[b], lam)
        label_loss = F.cross_entropy(out_s, ys[a])
        domain_loss = F.cross_entropy(torch.cat([dom_s, dom_t]), torch.arange(2).repeat_interleave(64))
        opt.zero_grad()
        (label_loss + domain_loss).backward()
        opt.step()
        label_losses.append(label_loss.item())
        if i % 30 == 0:
            with torch.no_grad():
                acc = (net(xt, 0)[0].argmax(1) == yt).float().mean().item()
            print(f"{i} label {label_loss.item():.4f} domain {domain_loss.item():.4f} target accuracy {acc:.3f}")
    print("METRIC label_loss", sum(label_losses[:3]) / 3, sum(label_losses[-10:]) / 10)


main()
