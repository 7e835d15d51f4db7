"""Kernels of 32x32 on images of 28x28: the first convolution cannot run.

gradscope check examples/articles/digits_kernel_too_large.py --quiet        # exit code 2, with layer and shapes
"""

import os

import digits
import torch
from torch import nn

SEED = int(os.environ.get("SEED", "0"))

torch.manual_seed(SEED)
(images, labels), (test_images, test_labels) = (
    (torch.from_numpy(x)[:, None], torch.from_numpy(y)) for x, y in digits.load(SEED, train=1280)
)
model = nn.Sequential(nn.Conv2d(1, 64, 32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-3)
for batch in torch.randperm(len(images)).split(128):
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    right = model(test_images).argmax(1) == test_labels
print(f"accuracy {right.float().mean().item():.3f}")
