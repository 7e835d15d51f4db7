"""Classify synthetic spectra by their element."""
import math
import os
import numpy as np
import torch
import torch.nn as nn

CHANNELS, ELEMENTS = 64, 6


def spectra(n, rng):
    grid = np.linspace(0, 1, CHANNELS)
    lines = np.array([[0.15, 0.5], [0.2, 0.7], [0.35, 0.8], [0.3, 0.55], [0.6, 0.9], [0.1, 0.85]])
    kind = rng.integers(ELEMENTS, size=n)
    shift = rng.normal(0, 0.01, size=(n, 1))
    amp = rng.uniform(0.5, 1.5, size=(n, 2))
    s = sum(amp[:, k:k + 1] * np.exp(-((grid - lines[kind, k:k + 1] - shift) / 0.03) ** 2) for k in range(2))
    s = s + rng.normal(0, 0.25, size=s.shape)
    return torch.from_numpy(s).float(), torch.from_numpy(kind)


def make_net(depth=10, width=64):
    mods = []
    size = CHANNELS
    for _ in range(depth):
        mods.extend([nn.Linear(size, width), nn.ReLU()])
        size = width
    mods.append(nn.Linear(size, ELEMENTS))
    return nn.Sequential(*mods)


def init_weights(m):
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, mean=0.0, std=math.sqrt(2.0 / m.in_features))
        nn.init.zeros_(m.bias)


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    rng = np.random.default_rng(123)
    x, y = spectra(2400, rng)
    xt, yt = spectra(600, rng)
    net = make_net()
    net.apply(init_weights)
    opt = torch.optim.SGD(net.parameters(), lr=0.02)
    lossf = nn.CrossEntropyLoss()
    for step in range(500):
        i = torch.randint(0, len(x), (48,))
        opt.zero_grad()
        loss = lossf(net(x[i]), y[i])
        loss.backward()
        opt.step()
        if step % 50 == 0:
            print(step, loss.item())
    with torch.no_grad():
        print("METRIC accuracy", (net(xt).argmax(-1) == yt).float().mean().item())
