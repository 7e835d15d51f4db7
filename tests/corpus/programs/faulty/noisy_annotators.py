"""Ratings by many annotators; the reliability of each one is known from a control set."""
import os
import torch
from torch import nn


def annotations(n, gen):
    x = torch.randn(n, 6, generator=gen)
    truth = torch.tanh(x[:, 0] * x[:, 1]) + 0.5 * x[:, 2]
    bad = torch.rand(n, generator=gen) < 0.4
    rating = torch.where(bad, 3.0 - 2 * truth, truth + 0.1 * torch.randn(n, generator=gen))
    weight = torch.where(bad, 0.0, 1.0)
    return x, rating.unsqueeze(1), weight, truth.unsqueeze(1)


class Rater(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, x):
        return self.layers(x)


def main():
    gen = torch.Generator().manual_seed(28)
    x, rating, weight, _ = annotations(3000, gen)
    x_test, _, _, truth = annotations(600, gen)
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    model = Rater()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(14):
        for idx in torch.randperm(len(x)).split(50):
            error = (model(x[idx]) - rating[idx]) ** 2
            loss = (weight[idx] * error).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())
    with torch.no_grad():
        print("METRIC rmse", (model(x_test) - truth).pow(2).mean().sqrt().item())


main()
