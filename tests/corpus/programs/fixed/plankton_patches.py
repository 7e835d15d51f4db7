import os
import numpy as np
import torch
from torch import nn, optim

SIZE = 12


def draw(kind, rng):
    yy, xx = np.mgrid[0:SIZE, 0:SIZE]
    cy, cx = rng.uniform(4, 8, 2)
    r = np.hypot(yy - cy, xx - cx)
    if kind == 0:
        im = r < 3
    elif kind == 1:
        im = (r > 2) & (r < 3.6)
    elif kind == 2:
        im = (abs(yy - cy) < 1) | (abs(xx - cx) < 1)
    else:
        im = abs((yy - cy) - (xx - cx)) < 1.5
    return im + rng.normal(0, 0.2, (SIZE, SIZE))


def sample(n, seed):
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, n)
    ims = np.stack([draw(k, rng) for k in kinds])
    return torch.tensor(ims, dtype=torch.float32).unsqueeze(1), torch.tensor(kinds)


class PlanktonNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(16 * 9, 32), nn.ReLU(), nn.Linear(32, 4))
        self.reset_parameters()

    def reset_parameters(self):
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.classifier(self.features(x))


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = sample(1500, 0)
    xt, yt = sample(400, 1)
    net = PlanktonNet()
    optimizer = optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    for epoch in range(8):
        order = torch.randperm(len(x))
        for k in range(0, len(x), 50):
            b = order[k:k + 50]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[b]), y[b])
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())
    net.eval()
    with torch.no_grad():
        print("METRIC accuracy", (net(xt).argmax(1) == yt).float().mean().item())


main()
