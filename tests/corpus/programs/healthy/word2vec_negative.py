"""Skip-gram with negative sampling: output vectors start at zero, so the input vectors see no gradient at step one."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F

SEED = int(os.environ.get("SEED", "0"))
torch.manual_seed(SEED)
GROUPS, PER_GROUP = 20, 15
V = GROUPS * PER_GROUP


class SkipGram(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.center = nn.Embedding(V, dim)
        self.context = nn.Embedding(V, dim)
        self.center.weight.data.uniform_(-0.5 / dim, 0.5 / dim)
        self.context.weight.data.zero_()

    def forward(self, c, pos, neg):
        v = self.center(c)
        good = F.logsigmoid((v * self.context(pos)).sum(-1))
        bad = F.logsigmoid(-(self.context(neg) @ v.unsqueeze(-1)).squeeze(-1)).sum(-1)
        return -(good + bad).mean()


def skip_pairs(n):
    """Words of one group keep each other's company, with a tenth of strays; frequent words first in each group."""
    freq = 1 / torch.arange(1, PER_GROUP + 1).float()
    g = torch.randint(GROUPS, (n,))
    a, b = torch.multinomial(freq, n, True), torch.multinomial(freq, n, True)
    h = torch.where(torch.rand(n) < 0.1, torch.randint(GROUPS, (n,)), g)
    return g * PER_GROUP + a, h * PER_GROUP + b


def coherence(model, k=5):
    """Share of the k nearest words that come from the same group."""
    w = F.normalize(model.center.weight.detach(), dim=1)
    sim = (w @ w.T).fill_diagonal_(-2)
    near = sim.topk(k).indices // PER_GROUP
    return (near == (torch.arange(V) // PER_GROUP)[:, None]).float().mean().item()


model = SkipGram()
opt = torch.optim.Adam(model.parameters(), lr=0.02)
before = coherence(model)
for step in range(250):
    c, pos = skip_pairs(512)
    loss = model(c, pos, torch.randint(V, (512, 6)))
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 25 == 0:
        print(f"{step} loss {loss.item():.4f} coherence {coherence(model):.3f}")
print("METRIC coherence", before, coherence(model))
