"""The same sentences, but the training function never calls zero_grad: every step adds all gradients before it.

gradscope check examples/articles/text_safety_without_zero_grad.py --quiet        # stale-gradient
"""

import os

import sentences
import torch
from torch import nn

SEED = int(os.environ.get("SEED", "0"))


def train(model, optimizer, counts, labels):
    for epoch in range(15):
        for batch in torch.randperm(len(counts)).split(32):
            loss = nn.functional.cross_entropy(model(counts[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}  loss {loss.item():.4f}")


torch.manual_seed(SEED)
counts, labels = (torch.from_numpy(array) for array in sentences.load(1200, SEED))
model = nn.Sequential(nn.Linear(counts.shape[1], 64), nn.BatchNorm1d(64), nn.ReLU6(), nn.Linear(64, 2))
train(model, torch.optim.Adam(model.parameters(), lr=1e-3), counts[:1000], labels[:1000])

model.eval()
with torch.no_grad():
    right = model(counts[1000:]).argmax(1) == labels[1000:]
print(f"accuracy {right.float().mean().item():.3f}")
