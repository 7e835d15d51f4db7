"""MAML on sine tasks with torch.func: inner steps by functional grad, vmapped over tasks; only the outer step is an optimizer's."""
import os
import math
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

torch.manual_seed(int(os.environ.get("SEED", "0")))
net = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
outer = torch.optim.Adam(net.parameters(), lr=3e-3)
INNER_LR = 0.02


def mse(params, x, y):
    return ((functional_call(net, params, (x,)) - y) ** 2).mean()


def adapt_and_test(params, xs, ys, xq, yq):
    for _ in range(2):
        g = grad(mse)(params, xs, ys)
        params = {k: params[k] - INNER_LR * g[k] for k in params}
    return mse(params, xq, yq)


def tasks(n, shots=10):
    amp, phase = 0.5 + 2.0 * torch.rand(n, 1, 1), math.pi * torch.rand(n, 1, 1)
    x = 10 * torch.rand(n, 2 * shots, 1) - 5
    y = amp * torch.sin(x + phase)
    return x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:]


hist = []
for it in range(300):
    params = dict(net.named_parameters())
    loss = vmap(adapt_and_test, in_dims=(None, 0, 0, 0, 0))(params, *tasks(32)).mean()
    outer.zero_grad()
    loss.backward()
    outer.step()
    hist.append(loss.item())
    if it % 30 == 0:
        print("meta-iteration", it, "loss after adaptation", round(loss.item(), 4))
print("METRIC query_mse", sum(hist[:5]) / 5, sum(hist[-20:]) / 20)
