"""Batch normalization added to the loss as a number, and step() called on the parameters: no optimizer is there.

The program cannot run, so nothing can be judged, and gradscope says at which line it stopped.

gradscope check examples/articles/text_safety_parameters_stepped.py --quiet        # exit code 2
"""

import os

import sentences
import torch
from torch import nn

SEED = int(os.environ.get("SEED", "0"))


def batch_norm(x, epsilon=1e-5):
    """The batch, normalized, as one number."""
    return ((x - x.mean(0)) / (x.var(0) + epsilon).sqrt()).mean()


torch.manual_seed(SEED)
counts, labels = (torch.from_numpy(array) for array in sentences.load(1200, SEED))
model = nn.Sequential(nn.Linear(counts.shape[1], 64), nn.ReLU6(), nn.Linear(64, 2))
parameters = model.parameters()
for batch in torch.randperm(1000).split(32):
    scores = model(counts[batch])
    loss = nn.functional.cross_entropy(scores, labels[batch]) + batch_norm(scores)
    loss.backward()
    parameters.step()

with torch.no_grad():
    right = model(counts[1000:]).argmax(1) == labels[1000:]
print(f"accuracy {right.float().mean().item():.3f}")
