"""Conditional VAE; the KL weight is annealed from zero, so at first nothing at all pulls on the log-variance but noise."""
import os
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Encoder(nn.Module):
    def __init__(self, z):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ELU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ELU(), nn.Flatten())
        self.label = nn.Embedding(10, 16)
        self.mu, self.logvar = nn.Linear(128 + 16, z), nn.Linear(128 + 16, z)

    def forward(self, x, y):
        h = torch.cat([self.conv(x), self.label(y)], 1)
        return self.mu(h), self.logvar(h).clamp(-8, 4)


class Decoder(nn.Module):
    def __init__(self, z):
        super().__init__()
        self.label = nn.Embedding(10, 16)
        self.fc = nn.Sequential(nn.Linear(z + 16, 128), nn.ELU())
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(16, 1, 4, 2, 1))

    def forward(self, z, y):
        return self.up(self.fc(torch.cat([z, self.label(y)], 1)).view(-1, 32, 2, 2))


def run(seed, steps=250, z_dim=8):
    torch.manual_seed(seed)
    g = np.random.RandomState(seed)
    data = load_digits()
    X = torch.from_numpy(data.images.astype("float32") / 16.0).unsqueeze(1)
    Y = torch.from_numpy(data.target).long()
    enc, dec = Encoder(z_dim), Decoder(z_dim)
    opt = torch.optim.AdamW(list(enc.parameters()) + list(dec.parameters()), lr=2e-3, weight_decay=1e-4)
    recs = []
    for i in range(steps):
        idx = torch.from_numpy(g.choice(len(X), 128, replace=False))
        x, y = X[idx], Y[idx]
        mu, lv = enc(x, y)
        z = mu + torch.exp(0.5 * lv) * torch.randn_like(mu)
        logits = dec(z, y)
        rec = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1).mean()
        kl = 0.5 * (mu ** 2 + lv.exp() - 1 - lv).sum(1).mean()
        beta = min(1.0, i / 100)
        loss = rec + beta * kl
        opt.zero_grad()
        loss.backward()
        opt.step()
        recs.append(F.mse_loss(torch.sigmoid(logits), x).item())
        if i % 25 == 0:
            print(f"step {i} beta {beta:.2f} rec {rec.item():.3f} kl {kl.item():.3f}")
    return recs


if __name__ == "__main__":
    r = run(int(os.environ.get("SEED", "0")))
    print("METRIC reconstruction_mse", np.mean(r[:3]), np.mean(r[-10:]))
