"""A home-made optimizer (Lion: sign updates, so gradient scale is meaningless) under a cyclic learning rate."""
import os
import torch
import torch.nn as nn
from torch.optim import Optimizer
from sklearn.datasets import load_breast_cancer


class Lion(Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_((b1 * state["m"] + (1 - b1) * p.grad).sign(), alpha=-group["lr"])
                state["m"].mul_(b2).add_(p.grad, alpha=1 - b2)
        return loss


torch.manual_seed(int(os.environ.get("SEED", "0")))
X, y = load_breast_cancer(return_X_y=True)
X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
y = torch.tensor(y, dtype=torch.float32)[:, None]
model = nn.Sequential(nn.Linear(30, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1))
opt = Lion(model.parameters(), lr=1e-4, weight_decay=0.01)
sched = torch.optim.lr_scheduler.CyclicLR(opt, base_lr=1e-4, max_lr=1e-3, step_size_up=20, cycle_momentum=False)
bce = nn.BCEWithLogitsLoss()
losses = []
for step in range(200):
    i = torch.randint(len(X), (64,))
    opt.zero_grad()
    loss = bce(model(X[i]), y[i])
    loss.backward()
    opt.step()
    sched.step()
    losses.append(loss.item())
    if step % 20 == 0:
        print(step, f"lr {sched.get_last_lr()[0]:.1e}", f"loss {loss.item():.4f}")
print("METRIC loss", sum(losses[:3]) / 3, sum(losses[-20:]) / 20)
