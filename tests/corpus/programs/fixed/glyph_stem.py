import os
import torch
from torch import nn
from sklearn.datasets import load_digits


class GlyphNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=3, stride=2, padding=1), nn.ELU(),
            nn.Conv2d(6, 2, kernel_size=2, stride=2), nn.ELU(),
            nn.Flatten(),
        )
        self.classify = nn.Linear(8, 10)

    def forward(self, images):
        z = self.stem(images)
        return self.classify(z)


def batches(n, size):
    order = torch.randperm(n)
    for start in range(0, n, size):
        yield order[start:start + size]


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    bunch = load_digits()
    images = torch.as_tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.as_tensor(bunch.target)
    cut = 1400
    net = GlyphNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=4e-3)
    for epoch in range(20):
        total = 0.0
        for idx in batches(cut, 50):
            optimizer.zero_grad()
            loss = criterion(net(images[idx]), labels[idx])
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch % 4 == 0:
            print("epoch", epoch, "loss", total / 28)
    net.eval()
    with torch.inference_mode():
        hits = net(images[cut:]).argmax(1).eq(labels[cut:]).float().mean()
    print("METRIC accuracy", hits.item())
