"""SimCLR with NT-Xent; progress is the nearest-neighbour accuracy of the frozen features."""
import os
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

SEED = int(os.environ.get("SEED", 0))
random.seed(SEED); np.random.seed(SEED); torch.manual_seed(SEED)

d = load_digits()
X = torch.tensor(d.images / 16.0, dtype=torch.float32).unsqueeze(1)
y = d.target


def augment(x):
    n = len(x)
    angle = (torch.rand(n) - 0.5) * 0.7
    scale = 0.85 + 0.3 * torch.rand(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = angle.cos() * scale
    theta[:, 0, 1] = -angle.sin() * scale
    theta[:, 1, 0] = angle.sin() * scale
    theta[:, 1, 1] = angle.cos() * scale
    theta[:, :, 2] = (torch.rand(n, 2) - 0.5) * 0.4
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False) + 0.1 * torch.randn_like(x)


encoder = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
    nn.Flatten(), nn.Linear(64 * 16, 64))
projector = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))


def nt_xent(a, b, t=0.2):
    z = F.normalize(torch.cat([a, b]), dim=1)
    sim = z @ z.T / t
    sim.fill_diagonal_(float("-inf"))
    n = len(a)
    return F.cross_entropy(sim, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def knn():
    encoder.eval()
    with torch.no_grad():
        f = encoder(X).numpy()
    encoder.train()
    return KNeighborsClassifier(5).fit(f[:300], y[:300]).score(f[300:], y[300:])


opt = torch.optim.Adam([*encoder.parameters(), *projector.parameters()], lr=1e-3, weight_decay=1e-6)
acc0, losses = knn(), []
for it in range(150):
    x = X[torch.randperm(len(X))[:128]]
    loss = nt_xent(projector(encoder(augment(x))), projector(encoder(augment(x))))
    opt.zero_grad(); loss.backward(); opt.step()
    losses.append(loss.item())
    if it % 15 == 0:
        print(it, f"{loss.item():.4f}")
print("knn accuracy", acc0, knn())
print("METRIC nt_xent", np.mean(losses[:3]), np.mean(losses[-10:]))
