"""Online learning, one sample a step, small rate: single losses jump about, the running mean falls."""
import os
import torch
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", "0")))
teacher = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
teacher[0].weight.data.mul_(1.5)
teacher[2].weight.data.mul_(4)
teacher.requires_grad_(False)

student = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.SGD(student.parameters(), lr=0.04)
recent, means = [], []
for t in range(3000):
    x = torch.randn(1, 6)
    y = teacher(x) + 0.1 * torch.randn(1, 1)
    loss = (student(x) - y).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    recent.append(loss.item())
    if t % 250 == 249:
        means.append(sum(recent[-250:]) / 250)
        print(t + 1, "mean of the last 250:", round(means[-1], 4))
print("METRIC squared_error", sum(recent[:100]) / 100, sum(recent[-300:]) / 300)
