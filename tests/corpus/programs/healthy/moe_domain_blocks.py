"""Mixture of experts, top-1. Domains arrive in blocks of 15 steps, so an expert may sleep for a while."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F


class Top1MoE(nn.Module):
    def __init__(self, d, hidden, n_experts):
        super().__init__()
        self.router = nn.Linear(d, n_experts, bias=False)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d)) for _ in range(n_experts)])
        self.n = n_experts

    def forward(self, x):
        probs = F.softmax(self.router(x), dim=-1)
        gate, choice = probs.max(-1)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            sel = (choice == e).nonzero(as_tuple=True)[0]
            if sel.numel():
                out = out.index_add(0, sel, expert(x[sel]) * gate[sel, None])
        load = torch.bincount(choice, minlength=self.n).float() / len(x)
        aux = self.n * (load * probs.mean(0)).sum()
        return x + out, aux


class Net(nn.Module):
    def __init__(self, n_in=12, d=48):
        super().__init__()
        self.inp = nn.Linear(n_in, d)
        self.norm = nn.LayerNorm(d)
        self.moe = Top1MoE(d, 96, 6)
        self.out = nn.Linear(d, 1)

    def forward(self, x):
        h, aux = self.moe(self.norm(self.inp(x)))
        return self.out(h).squeeze(-1), aux


def make_domain(k, n, weights):
    x = torch.randn(n, 8)
    tag = F.one_hot(torch.full((n,), k), 4).float() * 2
    y = torch.tanh(x @ weights[k]) + 0.5 * x[:, k]
    return torch.cat([x, tag], 1), y


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    weights = torch.randn(4, 8) * 0.7
    model = Net()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    held_x, held_y = map(torch.cat, zip(*[make_domain(k, 200, weights) for k in range(4)]))

    @torch.no_grad()
    def evaluate():
        return F.mse_loss(model(held_x)[0], held_y).item()

    first = evaluate()
    for step in range(300):
        k = (step // 15) % 4
        x, y = make_domain(k, 96, weights)
        # a few samples of the others against forgetting
        for other in range(4):
            if other != k and step % 5 == 0:
                a, b = make_domain(other, 16, weights)
                x, y = torch.cat([x, a]), torch.cat([y, b])
        pred, aux = model(x)
        loss = F.mse_loss(pred, y) + 0.01 * aux
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        if step % 30 == 0:
            print(f"{step} loss {loss.item():.4f} held-out {evaluate():.4f}")
    print("METRIC heldout_mse", first, evaluate())


if __name__ == "__main__":
    main()
