import argparse
import os
import torch
from torch import nn
from sklearn.datasets import make_moons


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, h):
        return torch.tanh(self.linear(h))


class DeepNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.inp = nn.Linear(2, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.out = nn.Linear(width, 2)

    def forward(self, x):
        h = torch.tanh(self.inp(x))
        for block in self.blocks:
            h = h + block(h)
        return self.out(h)


def get_data():
    x, y = make_moons(1600, noise=0.12, random_state=4)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--depth", type=int, default=14)
    ap.add_argument("--width", type=int, default=20)
    ap.add_argument("--lr", type=float, default=0.02)
    opts = ap.parse_args()
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = get_data()
    net = DeepNet(opts.depth, opts.width)
    sgd = torch.optim.SGD(net.parameters(), lr=opts.lr, momentum=0.5)
    for epoch in range(14):
        for idx in torch.randperm(1200).split(32):
            loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        print("epoch", epoch, "loss %.4f" % loss.item())
    with torch.no_grad():
        acc = (net(x[1200:]).argmax(1) == y[1200:]).double().mean()
    print("METRIC accuracy", float(acc))


if __name__ == "__main__":
    main()
