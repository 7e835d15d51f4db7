"""Sigmoid output and BCELoss on grey values: the entropy of the targets keeps the loss far from zero forever."""
import argparse
import os
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset
from sklearn.datasets import load_digits


class Digits(Dataset):
    def __init__(self):
        self.images = (load_digits().images / 16.0).astype("float32")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]).unsqueeze(0)


class AutoEncoder(nn.Module):
    def __init__(self, code=16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, code))
        self.decoder = nn.Sequential(nn.Linear(code, 128), nn.ReLU(), nn.Unflatten(1, (32, 2, 2)),
                                     nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    loader = DataLoader(Digits(), batch_size=64, shuffle=True)
    model = AutoEncoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    criterion = nn.BCELoss()
    errors = []
    for epoch in range(args.epochs):
        for img in loader:
            output = model(img)
            loss = criterion(output, img)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            errors.append((output.detach() - img).pow(2).mean().item())
        print("epoch [{}/{}], loss:{:.4f} mse:{:.4f}".format(epoch + 1, args.epochs, loss.item(), errors[-1]))
    print("METRIC pixel_mse", sum(errors[:3]) / 3, sum(errors[-10:]) / 10)


if __name__ == "__main__":
    main()
