"""A linear model fitted to batches of 32 from a loader: mean squared error, Adam.

gradscope check examples/articles/linear_batches.py --quiet
"""

import os

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", "0")))
x, y = (torch.tensor(array, dtype=torch.float32) for array in load_diabetes(return_X_y=True))
x, y = x / x.std(0), ((y - y.mean()) / y.std())[:, None]
order = torch.randperm(len(x))
fit, held = order[:350], order[350:]

model = nn.Linear(10, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
loader = DataLoader(TensorDataset(x[fit], y[fit]), batch_size=32, shuffle=True)
for _ in range(40):
    for inputs, targets in loader:
        loss = nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

with torch.no_grad():
    error = nn.functional.mse_loss(model(x[held]), y[held]) / y[held].var()
print(f"error {error.item():.3f}")
