"""Pixel-wise mask of the disc in a noisy picture with distracting stripes."""
import os
import torch
from torch import nn
import torch.nn.functional as F


def pictures(n, gen):
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    c = 4 + 8 * torch.rand(n, 2, 1, 1, generator=gen)
    radius = 2 + 2 * torch.rand(n, 1, 1, generator=gen)
    mask = (((yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2) < radius ** 2).float()
    stripes = torch.sin(xx * (1 + torch.rand(n, 1, 1, generator=gen)))
    image = 0.8 * mask + 0.5 * stripes + 0.3 * torch.randn(n, 16, 16, generator=gen)
    return image.unsqueeze(1), mask.unsqueeze(1)


class MiniUNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.down1 = nn.Conv2d(1, c, 3, padding=1)
        self.down2 = nn.Conv2d(c, 2 * c, 3, padding=1)
        self.up = nn.Conv2d(3 * c, c, 3, padding=1)
        self.last = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        b = F.interpolate(b, scale_factor=2)
        return self.last(F.relu(self.up(torch.cat([a, b], dim=1))))


def dice(logits, mask):
    p = (logits > 0).float()
    return (2 * (p * mask).sum() / (p.sum() + mask.sum() + 1e-6)).item()


torch.manual_seed(int(os.environ.get("SEED", 0)))
gen = torch.Generator().manual_seed(31)
images, masks = pictures(800, gen)
test_images, test_masks = pictures(200, gen)
net = MiniUNet()
optimizer = torch.optim.SGD(net.parameters(), lr=5.0, momentum=0.9)
for step in range(300):
    pick = torch.randint(800, (24,))
    optimizer.zero_grad()
    loss = F.binary_cross_entropy_with_logits(net(images[pick]), masks[pick])
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3d} bce {loss.item():.4f}")
with torch.no_grad():
    print("METRIC dice", dice(net(test_images), test_masks))
