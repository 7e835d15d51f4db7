"""Three convolutions tell digits apart although some images are noise and some labels wrong.

Batch normalization, L2 (weight decay) and dropout keep it from following the outliers.

gradscope check examples/articles/digits_convolution.py --quiet
"""

import os

import digits
import torch
from torch import nn

SEED = int(os.environ.get("SEED", "0"))


def block(channels, maps):
    return nn.Sequential(
        nn.Conv2d(channels, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU(), nn.MaxPool2d(2)
    )


torch.manual_seed(SEED)
(images, labels), (test_images, test_labels) = (
    (torch.from_numpy(x)[:, None], torch.from_numpy(y)) for x, y in digits.load(SEED, train=1024)
)
images = images + 0.1 * torch.randn_like(images)
outliers = torch.randperm(len(images))[:32]
images[outliers] = torch.rand_like(images[outliers])

model = nn.Sequential(
    *(block(1, 64), block(64, 64), block(64, 128), nn.Flatten()),
    *(nn.Linear(128 * 3 * 3, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-3)
for epoch in range(10):
    for batch in torch.randperm(len(images)).split(128):
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  loss {loss.item():.4f}")

model.eval()
with torch.no_grad():
    right = model(test_images).argmax(1) == test_labels
print(f"accuracy {right.float().mean().item():.3f}")
