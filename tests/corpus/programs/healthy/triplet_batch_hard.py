"""Batch-hard triplet loss with the soft margin (log 2 would be the collapsed solution)."""
import os
import random
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class PKSampler:
    """P classes, K samples of each."""

    def __init__(self, labels, p=8, k=6):
        self.index = {c: (labels == c).nonzero()[:, 0].tolist() for c in labels.unique().tolist()}
        self.p, self.k = p, k

    def __call__(self):
        out = []
        for c in random.sample(sorted(self.index), self.p):
            out += random.sample(self.index[c], self.k)
        return torch.tensor(out)


def batch_hard(emb, labels):
    dist = torch.cdist(emb, emb)
    same = labels[:, None] == labels[None]
    hardest_pos = (dist * same).max(1).values
    hardest_neg = dist.masked_fill(same, float("inf")).min(1).values
    return F.softplus(hardest_pos - hardest_neg).mean(), (hardest_pos < hardest_neg).float().mean().item()


def main():
    seed = int(os.environ.get("SEED", "0"))
    random.seed(seed)
    torch.manual_seed(seed)
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(d.target)
    net = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.PReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.PReLU(), nn.Flatten(), nn.Linear(1024, 32))
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    sampler, losses, ok = PKSampler(y), [], []
    for it in range(150):
        idx = sampler()
        loss, right = batch_hard(net(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item()); ok.append(right)
        if it % 15 == 0:
            print(f"{it} loss {loss.item():.4f} ordered {right:.3f}")
    print("METRIC triplet_loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
