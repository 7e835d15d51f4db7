# Like the "what is torch.nn really" lesson: parameters as plain tensors, updated by hand under no_grad, no optimizer object.
import math
import os
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(int(os.environ.get("SEED", "0")))
data = load_digits()
x_all = torch.tensor(data.data / 16, dtype=torch.float32)
y_all = torch.tensor(data.target)

w1 = torch.randn(64, 50) / math.sqrt(64) * math.sqrt(2)
b1 = torch.zeros(50)
w2 = torch.randn(50, 10) / math.sqrt(50)
b2 = torch.zeros(10)
params = [w1, b1, w2, b2]
for p in params:
    p.requires_grad_()


def net(xb):
    return (xb @ w1 + b1).relu() @ w2 + b2


lr, bs = 0.5, 64
losses = []
for epoch in range(8):
    order = torch.randperm(len(x_all))
    for i in range(0, len(order) - bs, bs):
        xb, yb = x_all[order[i:i + bs]], y_all[order[i:i + bs]]
        loss = F.cross_entropy(net(xb), yb)
        loss.backward()
        with torch.no_grad():
            for p in params:
                p -= p.grad * lr
                p.grad.zero_()
        losses.append(loss.item())
    print(epoch, losses[-1], (net(x_all).argmax(1) == y_all).float().mean().item())
print("METRIC loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)
