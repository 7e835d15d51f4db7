"""Hamiltonian network: the model's only output is an energy; the loss sees its input gradient, so the last bias gets none."""
import argparse
import os
import torch
from torch import nn


class HNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        for m in self.energy:
            if isinstance(m, nn.Linear):
                nn.init.orthogonal_(m.weight)

    def forward(self, z):
        with torch.enable_grad():
            z = z.requires_grad_(True)
            dH, = torch.autograd.grad(self.energy(z).sum(), z, create_graph=True)
        return torch.stack([dH[:, 1], -dH[:, 0]], 1)       # dq/dt, dp/dt


def pendulum(n):
    q, p = (torch.rand(n) * 2 - 1) * 2.5, (torch.rand(n) * 2 - 1) * 2
    z = torch.stack([q, p], 1)
    return z, torch.stack([p, -torch.sin(q)], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "0")))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = HNN(args.hidden)
    optim = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(args.steps):
        z, dz = pendulum(128)
        loss = (model(z) - dz).pow(2).mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
        if step % 30 == 0:
            print(f"{step:4d} {loss.item():.6f}")
    print("METRIC field_mse", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
