"""Small programs with one fault each, and what they print at their end."""

CLASSIFIER = """\
import os

import torch
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", "0")))
x = torch.randn(512, 8)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr={rate})
criterion = nn.CrossEntropyLoss()
for step in range(60):
    rows = torch.arange(step % 8, 448, 8)
    optimizer.zero_grad()
    loss = criterion(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
{closing}
"""
ACCURACY = "print('test accuracy', (model(x[448:]).argmax(1) == y[448:]).float().mean().item())"
HEALTHY = CLASSIFIER.format(rate=0.1, closing=ACCURACY)
TOO_FAST = CLASSIFIER.format(rate=300.0, closing=ACCURACY)
SILENT = CLASSIFIER.format(rate=300.0, closing="")
STALE = """\
import os

import torch

torch.manual_seed(int(os.environ.get("SEED", "0")))
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
weights = torch.randn(8, 1) / 8**0.5
for step in range(100):
    x = torch.randn(64, 8)
    loss = torch.nn.functional.mse_loss(model(x), x @ weights)
    loss.backward()
    optimizer.step()
x = torch.randn(512, 8)
print("test error", torch.nn.functional.mse_loss(model(x), x @ weights).item())
"""
WORKLOAD = """\
import torch
from torch import nn

import gradscope

x = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()


def build():
    layers = [nn.Linear(8, 16), nn.Sigmoid()]
    for _ in range(7):
        layers += [nn.Linear(16, 16), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(16, 2))


def accuracy(output, target):
    return (output.argmax(1) == target).float().mean()


def workload():
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 448, 32)]
    loss = nn.CrossEntropyLoss()
    adam = lambda parameters: torch.optim.Adam(parameters, 1e-2)
    return gradscope.Workload(build, loss, batches, adam, held_out=[(x[448:], y[448:])], metric=accuracy)
"""
