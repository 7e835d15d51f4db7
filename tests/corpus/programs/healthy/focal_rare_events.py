"""Two percent positives, focal loss and the prior as the output bias: the loss starts small and stays small."""
import argparse
import math
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.metrics import average_precision_score


def sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0):
    p = torch.sigmoid(logits)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    a_t = alpha * targets + (1 - alpha) * (1 - targets)
    return (a_t * (1 - p_t) ** gamma * ce).sum() / targets.sum().clamp(min=1)     # per positive, as in RetinaNet


def transactions(n, w):
    x = torch.randn(n, 16)
    y = (torch.rand(n) < 0.02).float()
    x[y == 1] += w
    return x, y


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--steps", type=int, default=250)
    ap.add_argument("--batch", type=int, default=512)
    ap.add_argument("--lr", type=float, default=2e-3)
    a = ap.parse_args()
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    w = torch.randn(16) * 0.9
    xv, yv = transactions(8000, w)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    nn.init.normal_(net[-1].weight, std=0.01)
    nn.init.constant_(net[-1].bias, -math.log((1 - 0.01) / 0.01))
    opt = torch.optim.Adam(net.parameters(), lr=a.lr)

    def ap_score():
        with torch.no_grad():
            return average_precision_score(yv.numpy(), net(xv)[:, 0].numpy())

    first = ap_score()
    for step in range(a.steps):
        x, y = transactions(a.batch, w)
        loss = sigmoid_focal_loss(net(x)[:, 0], y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 25 == 0:
            print(f"{step:4d} focal {loss.item():.4f} AP {ap_score():.4f}")
    print("METRIC average_precision", first, ap_score())


if __name__ == "__main__":
    main()
