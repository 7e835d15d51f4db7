"""SGDR: cosine annealing to zero with warm restarts, so the loss rises after each restart and weights stand still before it."""
import os
import torch
import torch.nn as nn


class KeywordNet(nn.Module):
    def __init__(self, classes=6):
        super().__init__()

        def block(i, o):
            return nn.Sequential(nn.Conv1d(i, o, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(o), nn.ReLU(inplace=True))
        self.features = nn.Sequential(block(1, 16), block(16, 24), block(24, 32))
        self.classifier = nn.Linear(32, classes)

    def forward(self, x):
        return self.classifier(self.features(x).amax(-1))


def tones(n, classes=6, length=128):
    t = torch.arange(length) / length
    y = torch.randint(classes, (n,))
    f0 = 4 + 3 * y.float()[:, None] + torch.randn(n, 1) * 0.4
    sweep = torch.rand(n, 1) * 2
    onset = (t > 0.5 * torch.rand(n, 1)).float()
    x = torch.sin(2 * torch.pi * (f0 * t + sweep * t ** 2) + 6.28 * torch.rand(n, 1)) * onset
    return (x + 0.3 * torch.randn(n, length))[:, None], y


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    net = KeywordNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=40, T_mult=2)
    criterion = nn.CrossEntropyLoss()
    curve = []
    for step in range(280):
        x, y = tones(64)
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        curve.append(loss.item())
        if step % 20 == 0:
            print(f"{step:3d} lr {scheduler.get_last_lr()[0]:.4f} loss {loss.item():.4f}")
    print("METRIC loss", sum(curve[:3]) / 3, sum(curve[-10:]) / 10)


main()
