"""The usual sanity check: overfit 32 samples to a loss of nearly nothing (gradients end up tiny, and that is right)."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(int(os.environ.get("SEED", "0")))
d = load_digits()
pick = torch.randperm(len(d.target))[:32]
x = torch.tensor(d.images, dtype=torch.float32)[pick, None] / 8 - 1
y = torch.tensor(d.target)[pick]


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.f1, self.f2 = nn.Linear(32 * 4, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        return self.f2(F.relu(self.f1(x.flatten(1))))


net = SmallCNN()
opt = torch.optim.Adam(net.parameters(), lr=2e-3)
trace = []
for it in range(300):
    loss = F.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    trace.append(loss.item())
    if it % 30 == 0:
        print(f"{it:3d} {loss.item():.6f}")
assert (net(x).argmax(1) == y).all()
print("METRIC loss", trace[0], trace[-1])
