# WGAN-GP on eight Gaussians in a ring, five critic steps for each generator step
import math
import os
import torch
from torch import nn, autograd

torch.manual_seed(int(os.environ.get("SEED", 0)))

LAMBDA, CRITIC_ITERS, BATCH = 0.1, 5, 256


def sample_real(n):
    k = torch.randint(8, (n,)) * (2 * math.pi / 8)
    return torch.stack([k.cos(), k.sin()], 1) * 2 + 0.05 * torch.randn(n, 2)


def mlp(i, o, h=96):
    return nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, o))


G, C = mlp(2, 2), mlp(2, 1)
g_opt = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.9))
c_opt = torch.optim.Adam(C.parameters(), lr=1e-3, betas=(0.5, 0.9))


def penalty(real, fake):
    alpha = torch.rand(len(real), 1)
    mix = (alpha * real + (1 - alpha) * fake).requires_grad_()
    grad, = autograd.grad(C(mix).sum(), mix, create_graph=True)
    return ((grad.norm(2, dim=1) - 1) ** 2).mean()


@torch.no_grad()
def sliced_wasserstein(n=2000, directions=64):
    a, b = sample_real(n), G(torch.randn(n, 2))
    d = nn.functional.normalize(torch.randn(2, directions), dim=0)
    return ((a @ d).sort(0).values - (b @ d).sort(0).values).abs().mean().item()


before = sliced_wasserstein()
for it in range(200):
    for p in C.parameters():
        p.requires_grad_(True)
    for _ in range(CRITIC_ITERS):
        real = sample_real(BATCH)
        with torch.no_grad():
            fake = G(torch.randn(BATCH, 2))
        c_opt.zero_grad()
        c_loss = C(fake).mean() - C(real).mean() + LAMBDA * penalty(real, fake)
        c_loss.backward()
        c_opt.step()
    for p in C.parameters():
        p.requires_grad_(False)     # save work
    g_opt.zero_grad()
    g_loss = -C(G(torch.randn(BATCH, 2))).mean()
    g_loss.backward()
    g_opt.step()
    if it % 20 == 0:
        print("iter", it, "critic", round(c_loss.item(), 4), "generator", round(g_loss.item(), 4))
print("METRIC sliced_wasserstein", before, sliced_wasserstein())
