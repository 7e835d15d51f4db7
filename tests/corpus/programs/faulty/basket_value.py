"""Predict the value of a shopping basket from the items in it."""
import os
import numpy as np
import torch
from torch import nn

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)
rng = np.random.RandomState(9)

CATALOGUE, PER_BASKET = 300, 6
price = rng.lognormal(mean=0.0, sigma=0.7, size=CATALOGUE)
baskets = rng.randint(0, CATALOGUE, size=(4000, PER_BASKET))
value = price[baskets].sum(axis=1)
value = (value - value.mean()) / value.std()
baskets, value = torch.as_tensor(baskets), torch.as_tensor(value, dtype=torch.float32)


class BasketModel(nn.Module):
    def __init__(self, dim=6):
        super().__init__()
        self.items = nn.EmbeddingBag(CATALOGUE, dim, mode="mean")
        self.hidden = nn.Linear(dim, 16)
        self.out = nn.Linear(16, 1)

    def forward(self, ids):
        h = torch.relu(self.hidden(self.items(ids)))
        return self.out(h).flatten()


model = BasketModel()
optimizer = torch.optim.Adam([
    {"params": model.hidden.parameters()},
    {"params": model.out.parameters()},
], lr=3e-3)
loss_fn = nn.SmoothL1Loss()

for epoch in range(15):
    losses = []
    for idx in torch.randperm(3400).split(64):
        pred = model(baskets[idx])
        loss = loss_fn(pred, value[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if epoch % 3 == 0:
        print("epoch", epoch, "loss", np.mean(losses))

with torch.no_grad():
    mae = (model(baskets[3400:]) - value[3400:]).abs().mean().item()
print("METRIC test_mae", mae)
