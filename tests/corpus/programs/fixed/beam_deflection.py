import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

gen = torch.Generator().manual_seed(33)


def beams(n):
    length = 1 + torch.rand(n, generator=gen)
    force = 50 + 100 * torch.rand(n, generator=gen)
    height = 0.05 + 0.05 * torch.rand(n, generator=gen)
    inertia = 0.05 * height ** 3 / 12
    deflection = force * length ** 3 / (48 * 2.1e11 * inertia)
    x = torch.stack([2 * length - 3, force / 50 - 2, 40 * height - 3], dim=1)
    return x, deflection.unsqueeze(1)


def r2_score(pred, true):
    return (1 - ((pred - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()).item()


def main():
    x, y = beams(2000)
    scale = y[:1600].std()
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    loader = DataLoader(TensorDataset(x[:1600], y[:1600] / scale), batch_size=40, shuffle=True)
    net = nn.Sequential(nn.Linear(3, 24), nn.ELU(), nn.Linear(24, 24), nn.ELU(), nn.Linear(24, 1))
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(15):
        total = 0.0
        for xb, yb in loader:
            opt.zero_grad()
            loss = nn.functional.mse_loss(net(xb), yb)
            loss.backward()
            opt.step()
            total += loss.item()
        if epoch % 3 == 0:
            print("epoch", epoch, "loss", total / len(loader))
    with torch.no_grad():
        print("METRIC r2", max(r2_score(net(x[1600:]) * scale, y[1600:]), -1.0))


main()
