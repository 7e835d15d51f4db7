"""Pairwise ranking with a hinge: once every pair is apart by the margin, loss and gradients are exactly zero."""
import os
import torch
from torch import nn


class Ranker(nn.Module):
    def __init__(self, d, h=64):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 1))

    def forward(self, better, worse):
        return self.score(better).squeeze(-1), self.score(worse).squeeze(-1)


def query_pairs(n, w):
    a, b = torch.randn(n, 10), torch.randn(n, 10)
    ua, ub = (z @ w + (z[:, :1] * z[:, 1:2]).squeeze(1) for z in (a, b))
    clear = (ua - ub).abs() > 0.5            # judges leave close calls out
    a, b, swap = a[clear], b[clear], (ua < ub)[clear][:, None]
    return torch.where(swap, b, a), torch.where(swap, a, b)


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    w = torch.randn(10)
    hi, lo = query_pairs(700, w)
    test_hi, test_lo = query_pairs(700, w)
    model = Ranker(10)
    criterion = nn.MarginRankingLoss(margin=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for epoch in range(22):
        for idx in torch.randperm(len(hi)).split(48):
            s_hi, s_lo = model(hi[idx], lo[idx])
            loss = criterion(s_hi, s_lo, torch.ones_like(s_hi))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 3 == 0:
            with torch.no_grad():
                s_hi, s_lo = model(test_hi, test_lo)
            print(f"epoch {epoch} loss {losses[-1]:.5f} test pairs right {(s_hi > s_lo).float().mean().item():.3f}")
    print("METRIC hinge", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
