"""Deep Q-learning with replay and a target network on a 5x5 grid with walls and a pit."""
import copy
import os
import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F

Transition = namedtuple("Transition", "state action reward next_state done")


class GridWorld:
    walls, pit, goal, size = {(1, 1), (1, 2), (3, 3)}, (2, 3), (4, 4), 5
    moves = [(0, 1), (1, 0), (0, -1), (-1, 0)]

    def __init__(self, rng):
        self.rng = rng

    def reset(self):
        self.pos = self.rng.choice([(0, 0), (0, 4), (4, 0), (2, 0), (0, 2)])
        self.t = 0
        return self.observe()

    def observe(self):
        x = torch.zeros(25)
        x[self.pos[0] * 5 + self.pos[1]] = 1.0
        return x

    def step(self, a):
        self.t += 1
        new = (self.pos[0] + self.moves[a][0], self.pos[1] + self.moves[a][1])
        if 0 <= new[0] < 5 and 0 <= new[1] < 5 and new not in self.walls:
            self.pos = new
        if self.pos == self.goal:
            return self.observe(), 1.0, True
        if self.pos == self.pit:
            return self.observe(), -1.0, True
        return self.observe(), -0.02, self.t >= 30


class Agent:
    def __init__(self, rng):
        self.rng = rng
        self.q = nn.Sequential(nn.Linear(25, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
        self.target = copy.deepcopy(self.q)
        self.optimizer = torch.optim.Adam(self.q.parameters(), lr=1e-3)
        self.memory = deque(maxlen=5000)

    def act(self, s, eps):
        if self.rng.random() < eps:
            return self.rng.randrange(4)
        with torch.no_grad():
            return int(self.q(s).argmax())

    def learn(self):
        batch = Transition(*zip(*self.rng.sample(self.memory, 64)))
        s, s2 = torch.stack(batch.state), torch.stack(batch.next_state)
        a, r = torch.tensor(batch.action), torch.tensor(batch.reward)
        alive = 1 - torch.tensor(batch.done, dtype=torch.float32)
        with torch.no_grad():
            y = r + 0.95 * alive * self.target(s2).max(1).values
        loss = F.smooth_l1_loss(self.q(s).gather(1, a[:, None])[:, 0], y)
        self.optimizer.zero_grad()
        loss.backward()
        for p in self.q.parameters():
            p.grad.clamp_(-1, 1)
        self.optimizer.step()
        return loss.item()


def evaluate(agent, env, episodes=20):
    total = 0.0
    for _ in range(episodes):
        s, done = env.reset(), False
        while not done:
            s, r, done = env.step(agent.act(s, 0.02))
            total += r
    return total / episodes


def main():
    seed = int(os.environ.get("SEED", "0"))
    torch.manual_seed(seed)
    rng = random.Random(seed)
    env, agent = GridWorld(rng), Agent(rng)
    first = evaluate(agent, env)
    updates, frames, s = 0, 0, env.reset()
    while updates < 900:
        eps = max(0.05, 1 - frames / 2000)
        a = agent.act(s, eps)
        s2, r, done = env.step(a)
        # a time-out is no terminal state
        agent.memory.append(Transition(s, a, r, s2, done and env.t < 30))
        s = env.reset() if done else s2
        frames += 1
        if frames > 300 and frames % 4 == 0:
            loss = agent.learn()
            updates += 1
            if updates % 50 == 0:
                agent.target.load_state_dict(agent.q.state_dict())
                print(f"update {updates} loss {loss:.5f} eps {eps:.2f}")
    print("METRIC greedy_return", round(first, 4), round(evaluate(agent, env), 4))


if __name__ == "__main__":
    main()
