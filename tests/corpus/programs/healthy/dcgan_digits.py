"""DCGAN on the 8x8 digits. Neither loss measures progress, so report a Frechet distance in pixel-PCA space."""
import argparse
import os

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class Generator(nn.Module):
    def __init__(self, nz=32, ngf=32):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 2, 1, 0, bias=False), nn.BatchNorm2d(ngf * 2), nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf), nn.ReLU(True),
            nn.ConvTranspose2d(ngf, 1, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, z):
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self, ndf=32):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ndf * 2), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, 1, 2, 1, 0, bias=False))

    def forward(self, x):
        return self.main(x).view(-1)


def weights_init(m):
    name = m.__class__.__name__
    if name.find("Conv") != -1:
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif name.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


def frechet(a, b):
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    ca, cb = np.cov(a.T), np.cov(b.T)
    vals = np.linalg.eigvals(ca @ cb)
    return float(mean + np.trace(ca) + np.trace(cb) - 2 * np.sqrt(np.maximum(vals.real, 0)).sum())


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--steps", type=int, default=300)
    ap.add_argument("--batch-size", type=int, default=64)
    ap.add_argument("--lr", type=float, default=2e-4 * 3)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "0")))
    opt = ap.parse_args()
    torch.manual_seed(opt.seed)

    real = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    flat = real.flatten(1).numpy()
    basis = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:16].T

    netG, netD = Generator(), Discriminator()
    netG.apply(weights_init)
    netD.apply(weights_init)
    optG = torch.optim.Adam(netG.parameters(), lr=opt.lr, betas=(0.5, 0.999))
    optD = torch.optim.Adam(netD.parameters(), lr=opt.lr, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    fixed = torch.randn(600, 32, 1, 1)

    def quality():
        with torch.no_grad():
            return frechet(netG(fixed).flatten(1).numpy() @ basis, flat @ basis)

    first = quality()
    ones, zeros = torch.full((opt.batch_size,), 0.9), torch.zeros(opt.batch_size)
    for it in range(opt.steps):
        x = real[torch.randint(len(real), (opt.batch_size,))]
        z = torch.randn(opt.batch_size, 32, 1, 1)
        # discriminator
        netD.zero_grad()
        lossD_real = criterion(netD(x), ones)
        lossD_real.backward()
        fake = netG(z)
        lossD_fake = criterion(netD(fake.detach()), zeros)
        lossD_fake.backward()
        optD.step()
        # generator
        netG.zero_grad()
        lossG = criterion(netD(fake), torch.ones(opt.batch_size))
        lossG.backward()
        optG.step()
        if it % 30 == 0:
            print(f"[{it}/{opt.steps}] Loss_D {(lossD_real + lossD_fake).item():.3f} Loss_G {lossG.item():.3f}")
    print("METRIC frechet", round(first, 4), round(quality(), 4))


if __name__ == "__main__":
    main()
