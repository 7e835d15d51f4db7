"""Word-level LSTM language model, output layer tied to the embedding, truncated BPTT with a detached carried state."""
import os
import time
import math
import torch
import torch.nn as nn


class RNNModel(nn.Module):
    def __init__(self, ntoken, nhid=64, dropout=0.1):
        super().__init__()
        self.ntoken, self.nhid = ntoken, nhid
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, nhid)
        self.rnn = nn.LSTM(nhid, nhid, 1)
        self.decoder = nn.Linear(nhid, ntoken)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x, hidden):
        out, hidden = self.rnn(self.drop(self.encoder(x)), hidden)
        return self.decoder(self.drop(out)).view(-1, self.ntoken), hidden

    def init_hidden(self, bsz):
        w = next(self.parameters())
        return w.new_zeros(1, bsz, self.nhid), w.new_zeros(1, bsz, self.nhid)


def repackage_hidden(h):
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)


def corpus(n_words=20000):
    """A toy grammar: determiner (adjective) noun verb determiner noun '.', with agreement between noun and verb class."""
    det, adj = ["the", "a"], ["red", "old", "big", "tiny"]
    nouns = [[f"animal{i}" for i in range(10)], [f"tool{i}" for i in range(10)], [f"food{i}" for i in range(10)]]
    verbs = [["eats", "sees"], ["cuts", "fixes"], ["spoils", "feeds"]]
    words = []

    def pick(seq):
        return seq[int(torch.randint(len(seq), ()))]
    while len(words) < n_words:
        k = int(torch.randint(3, ()))
        words.append(pick(det))
        if torch.rand(()) < 0.4:
            words.append(pick(adj))
        words += [pick(nouns[k]), pick(verbs[k]), pick(det), pick(nouns[(k + 2) % 3]), "."]
    index = {w: i for i, w in enumerate(sorted(set(words)))}
    return torch.tensor([index[w] for w in words]), len(index)


def batchify(data, bsz):
    n = data.size(0) // bsz
    return data[: n * bsz].view(bsz, -1).t().contiguous()


def main(bptt=20, bsz=20, clip=0.5):
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    ids, ntoken = corpus()
    data = batchify(ids, bsz)
    model = RNNModel(ntoken)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses, start = [], time.time()
    for epoch in range(4):
        hidden = model.init_hidden(bsz)
        for batch, i in enumerate(range(0, data.size(0) - 1, bptt)):
            n = min(bptt, len(data) - 1 - i)
            x, y = data[i:i + n], data[i + 1:i + 1 + n].reshape(-1)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = model(x, hidden)
            loss = criterion(output, y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
        print(f"| epoch {epoch} | {time.time() - start:.1f} s | loss {loss.item():.3f} | ppl {math.exp(loss.item()):.2f}")
    print("METRIC perplexity", math.exp(sum(losses[:3]) / 3), math.exp(sum(losses[-10:]) / 10))


main()
