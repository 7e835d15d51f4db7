"""VQ-VAE with straight-through codes and an EMA codebook (a buffer, no gradient); some codes are never chosen."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class VectorQuantizerEMA(nn.Module):
    def __init__(self, codes, dim, decay=0.95, eps=1e-5):
        super().__init__()
        self.register_buffer("codebook", torch.randn(codes, dim))
        self.register_buffer("size", torch.ones(codes))
        self.register_buffer("total", self.codebook.clone())
        self.decay, self.eps = decay, eps

    def forward(self, z):                                        # B, C, H, W
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        index = torch.cdist(flat.detach(), self.codebook).argmin(1)
        q = self.codebook[index]
        if self.training:
            with torch.no_grad():
                one_hot = F.one_hot(index, len(self.codebook)).type_as(flat)
                self.size.lerp_(one_hot.sum(0), 1 - self.decay)
                self.total.lerp_(one_hot.T @ flat, 1 - self.decay)
                n = self.size.sum()
                size = (self.size + self.eps) / (n + len(self.size) * self.eps) * n
                self.codebook.copy_(self.total / size[:, None])
        q = q.view(z.shape[0], z.shape[2], z.shape[3], -1).permute(0, 3, 1, 2)
        commit = F.mse_loss(z, q)
        return z + (q - z).detach(), commit, index.unique().numel()


class VQVAE(nn.Module):
    def __init__(self, dim=16, codes=64):
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, dim, 1))
        self.vq = VectorQuantizerEMA(codes, dim)
        self.dec = nn.Sequential(nn.Conv2d(dim, 32, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))

    def forward(self, x):
        q, commit, used = self.vq(self.enc(x))
        return self.dec(q), commit, used


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    model = VQVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for it in range(220):
        x = images[torch.randint(len(images), (64,))]
        out, commit, used = model(x)
        rec = F.mse_loss(out, x)
        (rec + 0.25 * commit).backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(rec.item())
        if it % 20 == 0:
            print(f"{it:3d} reconstruction {rec.item():.4f} commitment {commit.item():.4f} codes used {used}")
    print("METRIC reconstruction", sum(history[:3]) / 3, sum(history[-10:]) / 10)
