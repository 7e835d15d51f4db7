"""Solubility of made-up molecules written as strings."""
import os
import random
import torch
from torch import nn
import torch.nn.functional as F

ATOMS = "CNOFSc"
EFFECT = {"C": -0.5, "N": 0.6, "O": 0.8, "F": -0.2, "S": -0.3, "c": -0.7}
PAD = len(ATOMS)
MAXLEN = 14


def molecule(rnd):
    s = "".join(rnd.choice(ATOMS) for _ in range(rnd.randint(5, MAXLEN)))
    log_s = sum(EFFECT[a] for a in s) - 0.8 * s.count("cC") + 0.6 * s.count("NO")
    return s, log_s / 2 + rnd.gauss(0, 0.1)


def encode(strings):
    ids = torch.full((len(strings), MAXLEN), PAD)
    for i, s in enumerate(strings):
        ids[i, :len(s)] = torch.tensor([ATOMS.index(a) for a in s])
    return ids


class TextCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(PAD + 1, 12, padding_idx=PAD)
        self.conv = nn.Conv1d(12, 32, 2)
        self.out = nn.Linear(32, 1)

    def forward(self, ids):
        h = F.relu(self.conv(self.emb(ids).transpose(1, 2)))
        return self.out(h.sum(dim=2) / 5).squeeze(1)


def main():
    rnd = random.Random(4)
    mols = [molecule(rnd) for _ in range(2400)]
    ids = encode([s for s, _ in mols])
    logs = torch.tensor([[v] for _, v in mols])
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    net = TextCNN()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(10):
        for idx in torch.randperm(2000).split(40):
            opt.zero_grad()
            loss = F.smooth_l1_loss(net(ids[idx]), logs[idx].flatten())
            loss.backward()
            opt.step()
        print("epoch", epoch, "loss", loss.item())
    with torch.no_grad():
        pred, true = net(ids[2000:]), logs[2000:, 0]
    print("METRIC r2", (1 - (pred - true).pow(2).sum() / (true - true.mean()).pow(2).sum()).item())


main()
