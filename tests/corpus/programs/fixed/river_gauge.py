import os
import torch
from torch import nn

BATCH = 256
STEPS = 700


def gauge(n, gen, noise=4.0):
    x = torch.randn(n, 10, generator=gen)
    y = torch.sin(x[:, 0]) + 0.7 * x[:, 1] - 0.5 * x[:, 2] * x[:, 3].tanh()
    return x, y + noise * torch.randn(n, generator=gen)


class Gauge(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(10, 24), nn.Softplus(), nn.Linear(24, 1), nn.Flatten(0))

    def forward(self, x):
        return self.f(x)


torch.manual_seed(int(os.environ.get("SEED", 0)))
gen = torch.Generator().manual_seed(50)
x, y = gauge(60000, gen)
x_clean, y_clean = gauge(1000, gen, noise=0.0)
model = Gauge()
opt = torch.optim.Adam(model.parameters(), lr=6e-3)
for step in range(STEPS):
    idx = torch.randint(len(x), (BATCH,))
    loss = (model(x[idx]) - y[idx]).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 100 == 0:
        print("step", step, "loss", loss.item())
with torch.no_grad():
    print("METRIC clean_mse", (model(x_clean) - y_clean).pow(2).mean().item())
