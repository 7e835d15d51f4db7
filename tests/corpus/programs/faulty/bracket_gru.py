"""Nesting depth (modulo three) at the end of a bracket sequence."""
import os
import random
import torch
import torch.nn as nn

CONFIG = {"lr": 0.5, "hidden": 32, "length": 16, "steps": 650, "batch": 64}


def sequence(rnd, length):
    depth, ok, toks = 0, True, []
    for _ in range(length):
        if rnd.random() < 0.04:
            t = 1 - (depth > 0)
        else:
            t = int(rnd.random() < 0.5) if depth > 0 else 0
        depth += 1 if t == 0 else -1
        ok = ok and depth >= 0
        toks.append(t)
    return toks, depth % 3


def make_set(n, seed):
    rnd = random.Random(seed)
    rows = [sequence(rnd, CONFIG["length"] - rnd.randrange(2)) for _ in range(n)]
    toks = torch.full((n, CONFIG["length"]), 2)
    for i, (r, _) in enumerate(rows):
        toks[i, -len(r):] = torch.tensor(r)
    return toks, torch.tensor([d for _, d in rows])


class Tagger(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embed = nn.Embedding(3, 8)
        self.rnn = nn.GRU(8, hidden, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.fc = nn.Linear(hidden, 3)

    def forward(self, toks):
        out, _ = self.rnn(self.embed(toks))
        return self.fc(self.norm(out[:, -1]))


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    train, valid = make_set(4000, 1), make_set(800, 2)
    model = Tagger(CONFIG["hidden"])
    opt = torch.optim.Adam(model.parameters(), lr=CONFIG["lr"])
    crit = nn.CrossEntropyLoss()
    for step in range(CONFIG["steps"]):
        i = torch.randint(len(train[0]), (CONFIG["batch"],))
        loss = crit(model(train[0][i]), train[1][i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 75 == 0:
            print("step", step, "loss", loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(valid[0]).argmax(1) == valid[1]).float().mean().item()
    print("METRIC accuracy", acc)


if __name__ == "__main__":
    main()
