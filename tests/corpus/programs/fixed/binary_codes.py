"""Autoencoder with near-binary codes for storing digit images compactly."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

BITS = 12


class BitCoder(nn.Module):
    def __init__(self, bits=BITS):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.LeakyReLU(0.1), nn.Linear(48, bits))
        self.decoder = nn.Sequential(nn.Linear(bits, 48), nn.LeakyReLU(0.1), nn.Linear(48, 64))

    def encode(self, x):
        h = self.encoder(x)
        code = torch.tanh(h)
        return code

    def forward(self, x):
        return self.decoder(self.encode(x))


class Trainer:
    def __init__(self, model, lr):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def step(self, batch):
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.model(batch), batch)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def fit(self, data, steps, batch_size=64):
        for i in range(steps):
            loss = self.step(data[torch.randint(len(data), (batch_size,))])
            if i % 200 == 0:
                print(f"step {i}: {loss:.4f}")


torch.manual_seed(int(os.environ.get("SEED", 0)))
pixels = torch.tensor(load_digits().data, dtype=torch.float32) / 16
trainer = Trainer(BitCoder(), lr=3e-3)
trainer.fit(pixels[:1500], steps=900)
with torch.no_grad():
    test = pixels[1500:]
    print("METRIC reconstruction_mse", F.mse_loss(trainer.model(test), test).item())
