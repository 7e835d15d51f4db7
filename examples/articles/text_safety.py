"""Tells safe sentences from unsafe ones, with batch normalization written by hand.

Xavier initialization, ReLU6 and zero_grad before each backward pass keep the gradients in order.

gradscope check examples/articles/text_safety.py --quiet
"""

import os

import sentences
import torch
from torch import nn

SEED = int(os.environ.get("SEED", "0"))


class BatchNorm(nn.Module):
    """Normalizes each feature over the batch, in evaluation by the moving averages.

    A batch of one has no variance: it passes unchanged while training.
    """

    def __init__(self, features, epsilon=1e-5, momentum=0.1):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("moving_mean", torch.zeros(features))
        self.register_buffer("moving_variance", torch.ones(features))
        self.epsilon, self.momentum = epsilon, momentum

    def forward(self, x):
        mean, variance = self.moving_mean, self.moving_variance
        if self.training:
            if len(x) == 1:
                return x
            mean, variance = x.mean(0), x.var(0, unbiased=False)
            self.moving_mean.lerp_(mean.detach(), self.momentum)
            self.moving_variance.lerp_(variance.detach(), self.momentum)
        return self.gamma * (x - mean) / (variance + self.epsilon).sqrt() + self.beta


torch.manual_seed(SEED)
counts, labels = (torch.from_numpy(array) for array in sentences.load(1200, SEED))
model = nn.Sequential(nn.Linear(counts.shape[1], 64), BatchNorm(64), nn.ReLU6(), nn.Linear(64, 2))
for layer in (model[0], model[3]):
    nn.init.xavier_uniform_(layer.weight)

optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(15):
    for batch in torch.randperm(1000).split(32):
        loss = nn.functional.cross_entropy(model(counts[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  loss {loss.item():.4f}")

model.eval()
with torch.no_grad():
    right = model(counts[1000:]).argmax(1) == labels[1000:]
print(f"accuracy {right.float().mean().item():.3f}")
