"""DeepSets over padded sets, sum pooling, a ReLU at the output because the target (a range) cannot be negative."""
import os
import torch
import torch.nn as nn


class DeepSet(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(2, h), nn.ELU(), nn.Linear(h, h), nn.ELU())
        self.rho = nn.Sequential(nn.Linear(2 * h, h), nn.ELU(), nn.Linear(h, 1))
        nn.init.constant_(self.rho[-1].bias, 1.0)      # begin on the active side of the ReLU

    def forward(self, x, mask):
        e = self.phi(x) * mask.unsqueeze(-1)
        mean = e.sum(1) / mask.sum(1, keepdim=True)
        peak = e.masked_fill(mask.unsqueeze(-1) == 0, -1e4).max(1).values
        return torch.relu(self.rho(torch.cat([mean, peak], 1))).squeeze(1)


def sets(n, most=12):
    size = torch.randint(2, most + 1, (n,))
    mask = (torch.arange(most) < size[:, None]).float()
    x = torch.randn(n, most, 2) * mask.unsqueeze(-1)
    big = x[..., 0].masked_fill(mask == 0, -99).max(1).values
    small = x[..., 0].masked_fill(mask == 0, 99).min(1).values
    return x, mask, big - small


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    model = DeepSet()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for i in range(300):
        x, mask, y = sets(128)
        loss = nn.functional.huber_loss(model(x, mask), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if i % 30 == 29:
            print(i + 1, round(loss.item(), 4))
    print("METRIC huber", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
