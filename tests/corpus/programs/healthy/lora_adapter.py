"""Low-rank adapters on a frozen base: B starts at zero, so A's first gradient is exactly zero and the base has none."""
import math
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, r=4, alpha=8):
        super().__init__()
        self.base = base
        self.base.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


def build():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def fit(model, x, y, steps, lr, tag):
    params = [p for p in model.parameters() if p.requires_grad]
    print(tag, "trainable", sum(p.numel() for p in params), "of", sum(p.numel() for p in model.parameters()))
    opt = torch.optim.AdamW(params, lr=lr, weight_decay=0.0)
    losses = []
    for step in range(steps):
        idx = torch.randint(len(x), (64,))
        loss = F.cross_entropy(model(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(tag, step, round(losses[-1], 4))
    return losses


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    d = load_digits()
    x = (torch.tensor(d.images, dtype=torch.float32) - 4.88) / 6.02
    y = torch.tensor(d.target)
    model = build()
    fit(model, x.flatten(1), y, 120, 2e-3, "pretrain")
    # the new domain: the images turned by a quarter
    turned = x.rot90(1, (1, 2)).flatten(1)
    for i in (0, 2, 4):
        model[i] = LoRALinear(model[i])
    losses = fit(model, turned, y, 200, 5e-3, "adapt")
    print("METRIC adapt_loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
