"""Bag-of-words classifier: sparse gradients of a large embedding bag (SparseAdam) beside a dense head (Adam)."""
import os
import torch
import torch.nn as nn

VOCAB, DIM, TOPICS = 3000, 32, 5


class TextModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCAB, DIM, mode="mean", sparse=True)
        self.hidden = nn.Linear(DIM, 32)
        self.out = nn.Linear(32, TOPICS)
        self.bag.weight.data.uniform_(-0.5, 0.5)

    def forward(self, tokens, offsets):
        return self.out(torch.relu(self.hidden(self.bag(tokens, offsets))))


class Documents:
    """Words drawn from Zipf-like topic distributions; the tail is hardly ever seen."""

    def __init__(self):
        base = 1 / torch.arange(1, VOCAB + 1).float()
        self.dists = torch.stack([0.5 * base / base.sum() + 0.5 * (t := base[torch.randperm(VOCAB)]) / t.sum() for _ in range(TOPICS)])

    def batch(self, n=64):
        label = torch.randint(TOPICS, (n,))
        lengths = torch.randint(15, 40, (n,))
        docs = [torch.multinomial(self.dists[l], int(k), replacement=True) for l, k in zip(label, lengths)]
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
        return torch.cat(docs), offsets, label


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    docs, model = Documents(), TextModel()
    optimizers = [torch.optim.SparseAdam(list(model.bag.parameters()), lr=0.02),
                  torch.optim.Adam([*model.hidden.parameters(), *model.out.parameters()], lr=0.005)]
    losses = []
    for step in range(200):
        tokens, offsets, label = docs.batch()
        loss = nn.functional.cross_entropy(model(tokens, offsets), label)
        for o in optimizers:
            o.zero_grad()
        loss.backward()
        for o in optimizers:
            o.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(step, round(loss.item(), 4))
    print("METRIC cross_entropy", sum(losses[:5]) / 5, sum(losses[-20:]) / 20)


if __name__ == "__main__":
    main()
