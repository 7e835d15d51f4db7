"""Full-batch gradient descent: theta := theta - alpha * gradient / M, the gradient summed over all M samples.

The optimizer divides by M, so alpha means the same for every number of samples.

gradscope check examples/articles/full_batch_descent.py --quiet
"""

import os

import torch
from sklearn.datasets import load_diabetes
from torch import nn


class BatchGradientDescent(torch.optim.Optimizer):
    """theta := theta - alpha * gradient / M, for the sum of the losses of M samples."""

    def __init__(self, parameters, alpha, samples):
        super().__init__(parameters, {"lr": alpha, "samples": samples})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for theta in group["params"]:
                theta.sub_(group["lr"] * theta.grad / group["samples"])


torch.manual_seed(int(os.environ.get("SEED", "0")))
x, y = (torch.tensor(array, dtype=torch.float32) for array in load_diabetes(return_X_y=True))
x, y = x / x.std(0), ((y - y.mean()) / y.std())[:, None]
order = torch.randperm(len(x))
fit, held = order[:350], order[350:]

model = nn.Linear(10, 1)
optimizer = BatchGradientDescent(model.parameters(), alpha=0.1, samples=len(fit))
for epoch in range(200):
    loss = nn.functional.mse_loss(model(x[fit]), y[fit], reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 20 == 0:
        print(f"epoch {epoch}  loss {loss.item() / len(fit):.4f}")

with torch.no_grad():
    error = nn.functional.mse_loss(model(x[held]), y[held]) / y[held].var()
print(f"error {error.item():.3f}")
