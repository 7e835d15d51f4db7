"""REINFORCE (reward to go, normalized) on a cart pole written out in NumPy."""
import math
import os

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

seed = int(os.environ.get("SEED", "0"))
rng = np.random.default_rng(seed)
torch.manual_seed(seed)
LIMIT = 200


class CartPole:
    """Several carts at once; rewards of one until the pole falls."""

    def __init__(self, n):
        self.n = n

    def reset(self):
        self.s = rng.uniform(-0.05, 0.05, (self.n, 4))
        return self.s.copy()

    def step(self, action):
        x, v, th, w = self.s.T
        force = np.where(action == 1, 10.0, -10.0)
        tmp = (force + 0.05 * w ** 2 * np.sin(th)) / 1.1
        acc = (9.8 * np.sin(th) - np.cos(th) * tmp) / (0.5 * (4 / 3 - 0.1 * np.cos(th) ** 2 / 1.1))
        a = tmp - 0.05 * acc * np.cos(th) / 1.1
        self.s = np.stack([x + 0.02 * v, v + 0.02 * a, th + 0.02 * w, w + 0.02 * acc], 1)
        fell = (np.abs(self.s[:, 0]) > 2.4) | (np.abs(self.s[:, 2]) > 12 * math.pi / 180)
        return self.s.copy(), fell


policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
env = CartPole(8)
lengths = []

for update in range(70):
    obs, alive = env.reset(), np.ones(env.n, bool)
    logps, masks = [], []
    for t in range(LIMIT):
        dist = Categorical(logits=policy(torch.as_tensor(obs, dtype=torch.float32)))
        action = dist.sample()
        logps.append(dist.log_prob(action))
        masks.append(alive.copy())
        obs, fell = env.step(action.numpy())
        alive &= ~fell
        if not alive.any():
            break
    mask = torch.tensor(np.array(masks), dtype=torch.float32)
    returns = torch.zeros_like(mask)
    running = torch.zeros(env.n)
    for t in reversed(range(len(mask))):
        running = mask[t] + 0.99 * running
        returns[t] = running
    valid = mask.bool()
    advantage = (returns - returns[valid].mean()) / (returns[valid].std() + 1e-8)
    loss = -(torch.stack(logps) * advantage)[valid].mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths.append(mask.sum(0).mean().item())
    if update % 10 == 0:
        print(f"update {update:3d}  loss {loss.item():+.4f}  mean length {lengths[-1]:.1f}")

print("METRIC episode_length", np.mean(lengths[:5]), np.mean(lengths[-10:]))
