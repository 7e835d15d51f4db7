"""Count the bright grains in a detector frame (0 to 3)."""
import os
import numpy as np
import torch
from torch import nn


def expose(n, seed):
    rng = np.random.default_rng(seed)
    grains = rng.integers(0, 4, n)
    yy, xx = np.mgrid[:14, :14]
    frames = np.zeros((n, 14, 14))
    for i in range(n):
        for _ in range(grains[i]):
            cy, cx = rng.uniform(2, 12, 2)
            frames[i] += np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / 1.5)
    counts = np.clip(9000 + 30000 * frames + rng.normal(0, 1500, frames.shape), 0, 65535)
    return counts.astype(np.uint16), grains


def to_tensor(frames, grains):
    frames = frames.astype(np.float32)
    return torch.from_numpy(frames)[:, None], torch.from_numpy(grains)


class GrainNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.fc(x.sum(dim=(2, 3)) / 10)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = to_tensor(*expose(1500, 0))
    xt, yt = to_tensor(*expose(400, 1))
    net = GrainNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(14):
        for idx in torch.randperm(len(x)).split(30):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())
    with torch.no_grad():
        print("METRIC accuracy", (net(xt).argmax(1) == yt).float().mean().item())


main()
