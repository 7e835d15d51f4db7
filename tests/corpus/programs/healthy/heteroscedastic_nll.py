"""Mean and variance by Gaussian likelihood (softplus variance): the loss crosses zero and goes on into the negative."""
import os
import torch
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", "0")))


class Gauss(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.mean = nn.Linear(64, 1)
        self.raw = nn.Linear(64, 1)

    def forward(self, x):
        h = self.shared(x)
        return self.mean(h), nn.functional.softplus(self.raw(h)) + 1e-4


x = 4 * torch.rand(1500, 1) - 2
y = torch.sin(2 * x) + (0.02 + 0.08 * (x > 0)) * torch.randn_like(x)
net, nll = Gauss(), nn.GaussianNLLLoss()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 300)        # all the way to zero
curve = []
for step in range(300):
    i = torch.randint(1500, (128,))
    mu, var = net(x[i])
    loss = nll(mu, y[i], var)
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    opt.step()
    sched.step()
    curve.append(loss.item())
    if step % 30 == 0:
        print(step, round(loss.item(), 4), "sd", round(var.mean().sqrt().item(), 4))
print("METRIC nll", sum(curve[:3]) / 3, sum(curve[-20:]) / 20)
