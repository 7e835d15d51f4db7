import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class VAE(nn.Module):
    def __init__(self, latent=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.GELU())
        self.mu = nn.Linear(64, latent)
        self.log_var = nn.Linear(64, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, x):
        h = self.encoder(x)
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return self.decoder(z), mu, log_var

    def loss(self, x):
        logits, mu, log_var = self(x)
        recon = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        kl = -0.5 * (1 + log_var - mu ** 2 - log_var.exp()).sum(dim=1).mean()
        return recon + kl


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    train, test = x[:1500], x[1500:]
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for epoch in range(25):
        for idx in torch.randperm(1500).split(50):
            loss = vae.loss(train[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 0:
            print("epoch", epoch, "negative ELBO", loss.item())
    vae.eval()
    with torch.no_grad():
        mu = vae.mu(vae.encoder(test))
        print("METRIC reconstruction_mse", F.mse_loss(torch.sigmoid(vae.decoder(mu)), test).item())


main()
