"""Stochastic depth: whole blocks are left out of a step, so their parameters have no gradient in it."""
import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits


class DropBlock(nn.Module):
    def __init__(self, d, p):
        super().__init__()
        self.norm, self.up, self.down, self.p = nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d), p
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        if self.training and torch.rand(()) < self.p:
            return x
        scale = 1.0 if not self.training else 1.0 / (1 - self.p)
        return x + scale * self.down(nn.functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, d=64, depth=6, p_last=0.5):
        super().__init__()
        self.stem = nn.Linear(64, d)
        self.blocks = nn.Sequential(*[DropBlock(d, p_last * (i + 1) / depth) for i in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


def run(seed):
    torch.manual_seed(seed)
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32) / 16 - 0.3
    ds = TensorDataset(x, torch.tensor(bunch.target))
    net = Net()
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    out = []
    for epoch in range(7):
        for xb, yb in DataLoader(ds, batch_size=64, shuffle=True):
            opt.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(net(xb), yb)
            loss.backward()
            opt.step()
            out.append(loss.item())
        print("epoch", epoch, "loss", round(sum(out[-29:]) / 29, 4))
    return out


if __name__ == "__main__":
    o = run(int(os.environ.get("SEED", "0")))
    print("METRIC loss", sum(o[:3]) / 3, sum(o[-15:]) / 15)
