"""Forty percent of the labels are random; with label smoothing the loss hardly falls, the clean accuracy rises."""
import os
import numpy as np
import torch
from torch import nn
from sklearn.datasets import load_digits

seed = int(os.environ.get("SEED", "0"))
np.random.seed(seed); torch.manual_seed(seed)

X, y = load_digits(return_X_y=True)
X = torch.tensor(X / 16 - 0.3, dtype=torch.float32)
noisy = y.copy()
flip = np.random.rand(len(y)) < 0.4
flip[1200:] = False
noisy[flip] = np.random.randint(10, size=flip.sum())
y, noisy = torch.tensor(y), torch.tensor(noisy)

model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def clean_accuracy():
    model.eval()
    with torch.no_grad():
        a = (model(X[1200:]).argmax(1) == y[1200:]).float().mean().item()
    model.train()
    return a


before = clean_accuracy()
for epoch in range(10):
    perm = torch.randperm(1200)
    total = 0.0
    for i in range(0, 1200, 60):
        idx = perm[i:i + 60]
        optimizer.zero_grad()
        loss = criterion(model(X[idx]), noisy[idx])
        loss.backward()
        optimizer.step()
        total += loss.item() / 20
    print(f"epoch {epoch}: noisy loss {total:.4f}, clean accuracy {clean_accuracy():.3f}")
print("METRIC clean_accuracy", before, clean_accuracy())
