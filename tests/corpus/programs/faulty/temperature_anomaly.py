import os
import torch
import torch.nn as nn
import torch.nn.functional as F


class AnomalyNet(nn.Module):
    """Temperature anomaly of a grid cell from latitude, season, cloud cover and sea distance."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(5, 40)
        self.fc2 = nn.Linear(40, 20)
        self.out = nn.Linear(20, 1)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.relu(self.out(x)).squeeze(-1)


def grid(n, gen):
    lat, cloud, sea = (2 * torch.rand(3, n, generator=gen) - 1)
    season = 6.2832 * torch.rand(n, generator=gen)
    anomaly = 1.2 * torch.cos(season) * lat - 0.8 * cloud + 0.5 * sea * lat - 0.2
    x = torch.stack([lat, torch.sin(season), torch.cos(season), cloud, sea], dim=1)
    return x, anomaly + 0.1 * torch.randn(n, generator=gen)


gen = torch.Generator().manual_seed(71)
x, y = grid(2000, gen)
xt, yt = grid(500, gen)
torch.manual_seed(int(os.environ.get("SEED", 0)))
net = AnomalyNet()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(12):
    for idx in torch.randperm(2000).split(50):
        opt.zero_grad()
        loss = F.mse_loss(net(x[idx]), y[idx])
        loss.backward()
        opt.step()
    print("epoch", epoch, "loss", loss.item())
with torch.no_grad():
    print("METRIC test_mae", F.l1_loss(net(xt), yt).item())
