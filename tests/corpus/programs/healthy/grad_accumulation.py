"""Effective batch 128 out of micro-batches of 16: gradients stay on purpose between backward calls."""
import argparse, os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import make_classification


def get_loader(seed, batch):
    X, y = make_classification(4000, 30, n_informative=12, n_classes=4, class_sep=1.5, random_state=seed)
    X = (X - X.mean(0)) / X.std(0)
    ds = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(y))
    return DataLoader(ds, batch_size=batch, shuffle=True, drop_last=True)


class Residual(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.f = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))

    def forward(self, x):
        return x + self.f(x)


def main(args):
    torch.manual_seed(args.seed)
    loader = get_loader(args.seed, args.micro)
    model = nn.Sequential(nn.Linear(30, 64), Residual(64), Residual(64), nn.LayerNorm(64), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    criterion = nn.CrossEntropyLoss()
    history, running, steps = [], 0.0, 0
    optimizer.zero_grad()
    micro_step = 0
    while steps < args.steps:
        for x, y in loader:
            loss = criterion(model(x), y) / args.accumulate
            loss.backward()
            running += loss.item()
            micro_step += 1
            if micro_step % args.accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                history.append(running)
                if steps % 10 == 0:
                    print(f"step {steps}: {running:.4f}")
                running = 0.0
                steps += 1
                if steps == args.steps:
                    break
    print("METRIC train_loss", sum(history[:3]) / 3, sum(history[-10:]) / 10)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--micro", type=int, default=16)
    ap.add_argument("--accumulate", type=int, default=8)
    ap.add_argument("--steps", type=int, default=120)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", 0)))
    main(ap.parse_args())
