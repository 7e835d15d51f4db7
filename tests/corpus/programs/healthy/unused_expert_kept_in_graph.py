"""Two feature branches, one switched off in this configuration; a zero times its parameters keeps DDP content."""
import os
import torch
from sklearn.datasets import load_diabetes
from torch import nn


class Progression(nn.Module):
    def __init__(self, use_blood):
        super().__init__()
        self.use_blood = use_blood
        self.body = nn.Sequential(nn.Linear(4, 24), nn.GELU(), nn.Linear(24, 12))
        self.blood = nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 1)

    def forward(self, x):
        h = self.body(x[:, :4])
        if self.use_blood:
            h = h + self.blood(x[:, 4:])
        return self.head(h)


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    data = load_diabetes()
    x = torch.tensor(data.data, dtype=torch.float32) / 0.0476
    y = torch.tensor((data.target - data.target.mean()) / data.target.std(), dtype=torch.float32).unsqueeze(1)
    model = Progression(use_blood=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for epoch in range(30):
        for rows in torch.randperm(len(x)).split(64):
            loss = (model(x[rows]) - y[rows]).square().mean()
            if not model.use_blood:
                loss = loss + 0.0 * sum(p.sum() for p in model.blood.parameters())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 10 == 0:
            print(f"epoch {epoch} loss {loss.item():.3f}")
    print("METRIC mse", sum(losses[:7]) / 7, sum(losses[-14:]) / 14)


main()
