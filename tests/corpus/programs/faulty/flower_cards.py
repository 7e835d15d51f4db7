"""Iris classifier with stratified folds."""
import argparse
import os

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold
from torch import nn


def build(width):
    return nn.Sequential(
        nn.Linear(4, width), nn.Mish(),
        nn.Linear(width, width), nn.Mish(),
        nn.Linear(width, 3), nn.LogSoftmax(dim=0),
    )


def train_fold(x, y, args):
    net = build(args.width)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    nll = nn.NLLLoss()
    for epoch in range(args.epochs):
        for idx in torch.randperm(len(x)).split(15):
            loss = nll(net(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print("fold loss", loss.item())
    return net


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--width", type=int, default=16)
    ap.add_argument("--lr", type=float, default=5e-3)
    ap.add_argument("--epochs", type=int, default=40)
    args = ap.parse_args()
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = load_iris(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    y = torch.tensor(y)
    scores = []
    for tr, te in StratifiedKFold(3, shuffle=True, random_state=0).split(x, y):
        net = train_fold(x[tr], y[tr], args)
        with torch.no_grad():
            alone = torch.cat([net(row[None]) for row in x[te]])
        scores.append((alone.argmax(1) == y[te]).float().mean().item())
    print("METRIC accuracy", float(np.mean(scores)))


if __name__ == "__main__":
    main()
