"""Advantage actor-critic with one trunk and RMSprop on 'catch' (a falling ball, a paddle)."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F


class Catch:
    def __init__(self, envs, rows=6, cols=5):
        self.n, self.rows, self.cols = envs, rows, cols
        self.ball_row = torch.zeros(envs, dtype=torch.long)
        self.ball_col = torch.randint(cols, (envs,))
        self.paddle = torch.full((envs,), cols // 2)

    def frame(self):
        board = torch.zeros(self.n, self.rows, self.cols)
        i = torch.arange(self.n)
        board[i, self.ball_row, self.ball_col] = 1.0
        board[i, self.rows - 1, self.paddle] = 1.0
        return board[:, None]

    def step(self, action):
        self.paddle = (self.paddle + action - 1).clamp(0, self.cols - 1)
        self.ball_row = self.ball_row + 1
        done = self.ball_row == self.rows - 1
        reward = torch.where(done, torch.where(self.ball_col == self.paddle, 1.0, -1.0), 0.0)
        self.ball_row[done] = 0
        self.ball_col = torch.where(done, torch.randint(self.cols, (self.n,)), self.ball_col)
        return self.frame(), reward, done


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 30, 64), nn.ReLU())
        self.actor = nn.Linear(64, 3)
        self.critic = nn.Linear(64, 1)
        nn.init.orthogonal_(self.actor.weight, 0.01)      # near-uniform policy to begin with
        nn.init.zeros_(self.actor.bias)

    def forward(self, x):
        h = self.trunk(x)
        return self.actor(h), self.critic(h).squeeze(-1)


def train(updates=250, envs=32, horizon=5, gamma=0.97):
    env, net = Catch(envs), ActorCritic()
    opt = torch.optim.RMSprop(net.parameters(), lr=2e-3, alpha=0.99, eps=1e-5)
    obs, history = env.frame(), []
    for u in range(updates):
        logps, values, rewards, dones, entropies = [], [], [], [], []
        for _ in range(horizon):
            logits, value = net(obs)
            dist = torch.distributions.Categorical(logits=logits)
            a = dist.sample()
            obs, r, d = env.step(a)
            logps.append(dist.log_prob(a)); values.append(value); entropies.append(dist.entropy())
            rewards.append(r); dones.append(d.float())
        with torch.no_grad():
            ret = net(obs)[1]
        targets = []
        for r, d in zip(reversed(rewards), reversed(dones)):
            ret = r + gamma * (1 - d) * ret
            targets.insert(0, ret)
        adv = torch.stack(targets) - torch.stack(values)
        actor_loss = -(torch.stack(logps) * adv.detach()).mean()
        loss = actor_loss + 0.5 * adv.pow(2).mean() - 0.01 * torch.stack(entropies).mean()
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.step()
        rewards, dones = torch.stack(rewards), torch.stack(dones)
        history.append((rewards.sum() / dones.sum().clamp(min=1)).item())
        if u % 25 == 0:
            print(f"{u:4d} loss {loss.item():+.3f} reward/episode {history[-1]:+.3f}")
    return history


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    h = train()
    print("METRIC reward_per_episode", sum(h[:10]) / 10, sum(h[-20:]) / 20)
