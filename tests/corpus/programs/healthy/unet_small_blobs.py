"""U-Net for tiny bright discs in noise: few percent foreground, Dice (negative coefficient) plus BCE."""
import os
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
torch.manual_seed(int(os.environ.get("SEED", "0")))


def make(n, size=24):
    yy, xx = np.mgrid[:size, :size]
    img = rng.normal(0, 0.5, (n, 1, size, size))
    mask = np.zeros((n, 1, size, size))
    for i in range(n):
        for _ in range(rng.integers(1, 4)):
            cy, cx, r = rng.uniform(3, size - 3), rng.uniform(3, size - 3), rng.uniform(1.5, 2.7)
            disc = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r
            mask[i, 0][disc] = 1
        img[i] += 1.5 * mask[i]
    return torch.tensor(img, dtype=torch.float32), torch.tensor(mask, dtype=torch.float32)


def double(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1, inplace=True),
                         nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1, inplace=True))


class UNet(nn.Module):
    def __init__(self, w=8):
        super().__init__()
        self.d1, self.d2, self.d3 = double(1, w), double(w, 2 * w), double(2 * w, 4 * w)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.u2 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2), double(4 * w, 2 * w)
        self.up1, self.u1 = nn.ConvTranspose2d(2 * w, w, 2, 2), double(2 * w, w)
        self.out = nn.Conv2d(w, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(self.pool(a))
        c = self.d3(self.pool(b))
        b = self.u2(torch.cat([self.up2(c), b], 1))
        a = self.u1(torch.cat([self.up1(b), a], 1))
        return self.out(a)


def soft_dice(logits, target, eps=1.0):
    p = logits.sigmoid()
    inter = (p * target).sum()
    return (2 * inter + eps) / (p.sum() + target.sum() + eps)


train_x, train_y = make(400)
val_x, val_y = make(80)
print("foreground share", train_y.mean().item())
model = UNet()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)


def validate():
    model.eval()
    with torch.no_grad():
        p = (model(val_x) > 0).float()
    model.train()
    return (2 * (p * val_y).sum() / (p.sum() + val_y.sum() + 1e-6)).item()


start = validate()
step = 0
for epoch in range(7):
    order = torch.randperm(len(train_x))
    for chunk in order.split(16):
        logits = model(train_x[chunk])
        loss = 0.5 * F.binary_cross_entropy_with_logits(logits, train_y[chunk]) - soft_dice(logits, train_y[chunk])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    print("epoch", epoch, "step", step, "loss", round(loss.item(), 4), "val dice", round(validate(), 4))
print("METRIC val_dice", start, validate())
