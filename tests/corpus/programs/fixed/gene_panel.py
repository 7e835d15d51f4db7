import argparse
import os
import torch
import torch.nn.functional as F
from sklearn.datasets import make_classification
from torch import nn


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--sparsity", type=float, default=1e-4, help="L1 factor")
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--steps", type=int, default=600)
    return p.parse_args()


class Panel(nn.Module):
    def __init__(self, genes):
        super().__init__()
        self.a = nn.Linear(genes, 30)
        self.b = nn.Linear(30, 3)

    def forward(self, x):
        return self.b(F.leaky_relu(self.a(x)))

    def l1(self):
        return sum(w.abs().sum() for n, w in self.named_parameters() if n.endswith("weight"))


def main(o):
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = make_classification(2000, 50, n_informative=12, n_redundant=4, n_classes=3, class_sep=1.5, random_state=6)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    x = (x - x[:1500].mean(0)) / x[:1500].std(0)
    model = Panel(50)
    optimizer = torch.optim.Adam(model.parameters(), lr=o.lr)
    for step in range(o.steps):
        i = torch.randint(1500, (60,))
        loss = F.cross_entropy(model(x[i]), y[i]) + o.sparsity * model.l1()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print("step", step, "objective", loss.item())
    with torch.no_grad():
        print("METRIC accuracy", (model(x[1500:]).argmax(1) == y[1500:]).float().mean().item())


main(options())
