"""Learn digits 0-4 first, then reuse the body for digits 5-9."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(int(os.environ.get("SEED", 0)))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 32), nn.ReLU(),
        )
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x))


def fit(net, optimizer, x, y, epochs, tag):
    for epoch in range(epochs):
        for idx in torch.randperm(len(x)).split(32):
            loss = F.cross_entropy(net(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(tag, epoch, round(loss.item(), 4))


digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)
low, high = y < 5, y >= 5
x_new, y_new = x[high], y[high] - 5
x_test, y_test = x_new[650:], y_new[650:]

net = Net(5)
fit(net, torch.optim.Adam(net.parameters(), lr=2e-3), x[low], y[low], 3, "first")

for p in net.body.parameters():
    p.requires_grad_(False)
optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=2e-2)
net.head = nn.Linear(32, 5)
fit(net, optimizer, x_new[:650], y_new[:650], 15, "second")

with torch.no_grad():
    print("METRIC accuracy", (net(x_test).argmax(1) == y_test).float().mean().item())
