"""Plain policy gradient without a baseline: a kayak in a stream stays off both banks for as long as it can.

Every stroke is weighted with the length of its whole run, so the loss grows as the runs get longer.
"""
import os
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

seed = int(os.environ.get("SEED", "0"))
torch.manual_seed(seed)
rng = np.random.default_rng(seed)
LONGEST = 120


def run_down(policy, boats=24):
    """Runs of several boats: what each saw, its strokes, and how long it stayed off the banks."""
    place, drift = rng.uniform(-0.2, 0.2, boats), np.zeros(boats)
    seen, strokes, afloat = [], [], []
    alive = np.ones(boats, bool)
    for _ in range(LONGEST):
        look = torch.tensor(np.stack([place, 4 * drift], axis=1), dtype=torch.float32)
        with torch.no_grad():
            stroke = Categorical(logits=policy(look)).sample()
        seen.append(look), strokes.append(stroke), afloat.append(torch.tensor(alive))
        push = np.where(stroke.numpy() > 0, 0.03, -0.03)
        drift = 0.95 * drift * alive + push + 0.03 * place + rng.normal(0, 0.01, boats)
        place = np.where(alive, place + drift, place)                                # a boat that ran aground stays there
        alive = alive & (np.abs(place) < 1)
        if not alive.any():
            break
    return torch.stack(seen), torch.stack(strokes), torch.stack(afloat)


policy = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=8e-3)
lengths = []
for update in range(80):
    seen, strokes, afloat = run_down(policy)
    length = afloat.float().sum(dim=0)
    chosen = Categorical(logits=policy(seen)).log_prob(strokes)
    loss = -(chosen * length)[afloat].mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths.append(length.mean().item())
    if update % 10 == 0:
        print(f"update {update}: loss {loss.item():.2f}, run {lengths[-1]:.1f}")
print("METRIC run_length", np.mean(lengths[:5]), np.mean(lengths[-10:]))
