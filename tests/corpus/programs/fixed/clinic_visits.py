import os
import torch
import torch.nn as nn
import torch.nn.functional as F

SEED = int(os.environ.get("SEED", 0))
MAX_VISITS, N_CODES = 10, 40
data_gen = torch.Generator().manual_seed(5)


def build(n):
    codes = torch.randint(1, N_CODES, (n, MAX_VISITS), generator=data_gen)
    visits = torch.randint(0, MAX_VISITS + 1, (n,), generator=data_gen)
    mask = torch.arange(MAX_VISITS) < visits[:, None]
    codes = codes * mask
    severe = ((codes > 0) & (codes % 13 == 0)).any(dim=1)
    return codes, mask, severe.float()


class AttentionPool(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, h, mask):
        s = self.score(h).squeeze(-1).masked_fill(~mask, -1e4)
        w = torch.softmax(s, dim=1)
        return torch.einsum("bt,btd->bd", w, h)


class Readmission(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.codes = nn.Embedding(N_CODES, dim)
        self.mix = nn.Linear(dim, dim)
        self.pool = AttentionPool(dim)
        self.risk = nn.Linear(dim, 1)

    def forward(self, codes, mask):
        h = F.gelu(self.mix(self.codes(codes)))
        return self.risk(self.pool(h, mask)).squeeze(-1)


torch.manual_seed(SEED)
codes, mask, label = build(3000)
model = Readmission()
opt = torch.optim.AdamW(model.parameters(), lr=4e-3)
for epoch in range(8):
    model.train()
    for b in torch.randperm(2400).split(64):
        loss = F.binary_cross_entropy_with_logits(model(codes[b], mask[b]), label[b])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    print("epoch", epoch, "loss", round(loss.item(), 4))

model.eval()
with torch.no_grad():
    predicted = model(codes[2400:], mask[2400:]) > 0
    truth = label[2400:] > 0.5
    tpr = (predicted & truth).sum() / truth.sum()
    tnr = (~predicted & ~truth).sum() / (~truth).sum()
print("METRIC balanced_accuracy", ((tpr + tnr) / 2).item())
