"""Siamese network with spectral norm and the contrastive loss: pairs further apart than the margin give exactly zero."""
import os
import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from sklearn.datasets import load_digits

SEED = int(os.environ.get("SEED", 0))
torch.manual_seed(SEED)
rs = np.random.RandomState(SEED)

digits = load_digits()
X = torch.tensor(digits.data / 8 - 1, dtype=torch.float32)
y = digits.target
by_class = [np.flatnonzero(y == c) for c in range(10)]

net = nn.Sequential(
    spectral_norm(nn.Linear(64, 128)), nn.LeakyReLU(0.1),
    spectral_norm(nn.Linear(128, 128)), nn.LeakyReLU(0.1),
    nn.Linear(128, 8),
)


def pairs(n=128):
    a = rs.randint(len(y), size=n)
    same = rs.rand(n) < 0.5
    b = np.array([rs.choice(by_class[y[i]]) if s else rs.choice(np.flatnonzero(y != y[i])) for i, s in zip(a, same)])
    return X[a], X[b], torch.tensor(same.astype("float32"))


def contrastive(d, same, margin=1.0):
    return (same * d.pow(2) + (1 - same) * torch.clamp(margin - d, min=0).pow(2)).mean()


opt = torch.optim.Adam(net.parameters(), lr=2e-3)
hist = []
for i in range(220):
    a, b, same = pairs()
    d = (net(a) - net(b)).pow(2).sum(1).add(1e-8).sqrt()
    loss = contrastive(d, same)
    opt.zero_grad()
    loss.backward()
    opt.step()
    hist.append(loss.item())
    if i % 20 == 0:
        acc = ((d < 0.5).float() == same).float().mean().item()
        print(f"{i} loss {loss.item():.4f} pair accuracy {acc:.3f}")
print("METRIC contrastive_loss", np.mean(hist[:3]), np.mean(hist[-10:]))
