"""A share in [0, 1] regressed through a sigmoid with MSE: the loss is small from the start (targets vary little). Adagrad."""
import os
import torch
from torch import nn


def survey(n):
    x = torch.rand(n, 8)
    z = 3 * (x[:, 0] - 0.5) + 2 * x[:, 1] * x[:, 2] - 2 * (x[:, 3] > 0.6).float() + 0.2 * torch.randn(n)
    return x, torch.sigmoid(z)[:, None]


class ShareModel(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 64), nn.Softplus(beta=5), nn.Linear(64, 64), nn.Softplus(beta=5), nn.Linear(64, 1), nn.Sigmoid())


def fit(model, steps=300, batch=64):
    opt = torch.optim.Adagrad(model.parameters(), lr=0.04)
    out = []
    for s in range(steps):
        x, y = survey(batch)
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        out.append(loss.item())
        if s % 30 == 0:
            print("step {:3d} mse {:.5f}".format(s, out[-1]))
    return out


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    r = fit(ShareModel())
    print("METRIC mse", sum(r[:5]) / 5, sum(r[-20:]) / 20)
