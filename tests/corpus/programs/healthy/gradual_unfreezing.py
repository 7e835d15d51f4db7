"""ULMFiT-style fine-tuning: pretrained lower layers stay frozen for the first third, then thaw from the top with small rates."""
import argparse
import os
import torch
from torch import nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def body():
    return nn.ModuleList([nn.Sequential(nn.Linear(64, 96), nn.ReLU()), nn.Sequential(nn.Linear(96, 96), nn.ReLU()), nn.Sequential(nn.Linear(96, 64), nn.ReLU())])


def run_through(layers, x):
    for l in layers:
        x = l(x)
    return x


def pretrain(layers, x, steps):
    """As an autoencoder."""
    decoder = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64))
    opt = torch.optim.Adam([*layers.parameters(), *decoder.parameters()], lr=2e-3)
    for _ in range(steps):
        b = x[torch.randint(len(x), (64,))]
        loss = F.mse_loss(decoder(run_through(layers, b)), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return loss.item()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--pretrain-steps", type=int, default=120)
    ap.add_argument("--steps", type=int, default=240)
    args = ap.parse_args()
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    d = load_digits()
    x = torch.tensor((d.data - d.data.mean()) / d.data.std(), dtype=torch.float32)
    y = torch.tensor(d.target)
    layers = body()
    print("pretraining mse", round(pretrain(layers, x, args.pretrain_steps), 4))

    head = nn.Linear(64, 10)
    base_lr = 2e-3
    groups = [{"params": head.parameters(), "lr": base_lr}]
    groups += [{"params": l.parameters(), "lr": base_lr / 2.6 ** (i + 1)} for i, l in enumerate(reversed(layers))]
    opt = torch.optim.Adam(groups)
    layers.requires_grad_(False)
    thaw = {args.steps * (i + 2) // 6: len(layers) - 1 - i for i in range(len(layers))}
    losses = []
    for step in range(args.steps):
        if step in thaw:
            layers[thaw[step]].requires_grad_(True)
            print("thaw layer", thaw[step])
        idx = torch.randint(len(x), (64,))
        loss = F.cross_entropy(head(run_through(layers, x[idx])), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if step % 24 == 0:
            print(step, round(loss.item(), 4))
    print("METRIC loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
