"""Memory saver: one optimizer per parameter, stepped from a post-accumulate hook; after backward every .grad is None."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def attach(model, lr):
    optimizers = {p: torch.optim.AdamW([p], lr=lr, foreach=False) for p in model.parameters()}

    def hook(p):
        optimizers[p].step()
        optimizers[p].zero_grad(set_to_none=True)
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    return optimizers


class RowTransformer(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.embed = nn.Linear(8, d)
        self.pos = nn.Parameter(torch.randn(8, d) * 0.02)
        layer = nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(d, 10)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.pos).mean(1))


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    d = load_digits()
    x = torch.tensor((d.images - 4.9) / 6.0, dtype=torch.float32)
    y = torch.tensor(d.target)
    model = RowTransformer()
    attach(model, 1e-3)
    losses = []
    for step in range(150):
        i = torch.randint(len(x), (64,))
        loss = F.cross_entropy(model(x[i]), y[i])
        loss.backward()                      # updates happen in here
        losses.append(loss.item())
        if step % 15 == 0:
            print(step, round(loss.item(), 4))
    print("METRIC loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
