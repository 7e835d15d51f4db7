"""Power of a wind turbine from wind, density and pitch."""
import os
import numpy as np
import torch
from torch import nn


def simulate(n, rng):
    wind, rho, pitch = rng.uniform(0, 14, n), rng.normal(1.2, 0.05, n), rng.uniform(0, 1, n)
    power = np.clip(rho * (wind / 9) ** 3 * (1 - 0.4 * pitch), 0, 2.5) ** 0.6
    x = np.stack([wind / 7 - 1, (rho - 1.2) / 0.05, 2 * pitch - 1], 1)
    return x.astype("float32"), (power + rng.normal(0, 0.01, n)).astype("float32")


class SignedPower(nn.Module):
    """concave for positive values, slightly sloped for negative ones"""

    def forward(self, z):
        return torch.where(z > 0, z.pow(0.6), 0.1 * z)


class PowerNet(nn.Sequential):
    def __init__(self):
        super().__init__()
        self.add_module("fc1", nn.Linear(3, 32))
        self.add_module("act1", nn.SiLU())
        self.add_module("fc2", nn.Linear(32, 32))
        self.add_module("act2", nn.SiLU())
        self.add_module("fc3", nn.Linear(32, 1))
        self.add_module("out", SignedPower())


def run():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    rng = np.random.default_rng(3)
    x, y = (torch.from_numpy(a) for a in simulate(3000, rng))
    xt, yt = (torch.from_numpy(a) for a in simulate(800, rng))
    net = PowerNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    step = 0
    while step < 600:
        idx = torch.randint(len(x), (64,))
        loss = nn.functional.mse_loss(net(x[idx])[:, 0], y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 100 == 0:
            print(f"{step:4d}  {loss.item():.5f}")
        step += 1
    with torch.no_grad():
        close = (net(xt)[:, 0] - yt).abs() < 0.1
    print("METRIC within_tolerance", close.float().mean().item())


if __name__ == "__main__":
    run()
