"""Mixture density network on the inverted sine (several answers for one input); components may fall idle."""
import os
import torch
import torch.nn as nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

torch.manual_seed(int(os.environ.get("SEED", "0")))


class MDN(nn.Module):
    def __init__(self, k=6, h=48):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh())
        self.pi, self.mu, self.log_sigma = nn.Linear(h, k), nn.Linear(h, k), nn.Linear(h, k)
        nn.init.uniform_(self.mu.bias, -1, 1)
        nn.init.constant_(self.log_sigma.bias, -1)

    def forward(self, x):
        h = self.body(x)
        return MixtureSameFamily(Categorical(logits=self.pi(h)), Normal(self.mu(h), self.log_sigma(h).clamp(-5, 2).exp()))


t = 2 * torch.rand(2500) - 1
x = t + 0.35 * torch.sin(2 * torch.pi * t) + 0.03 * torch.randn(2500)
model = MDN()
opt = torch.optim.RMSprop(model.parameters(), lr=2e-3)
losses = []
for epoch in range(12):
    for idx in torch.randperm(2500).split(100):
        nll = -model(x[idx, None]).log_prob(t[idx]).mean()
        opt.zero_grad(); nll.backward(); opt.step()
        losses.append(nll.item())
    print(epoch, sum(losses[-25:]) / 25)
print("METRIC nll", sum(losses[:3]) / 3, sum(losses[-25:]) / 25)
