"""The classic tutorial layout: separate encoder and decoder, each with its own Adam optimizer, teacher forcing half the time."""
import os
import random
import torch
import torch.nn as nn
from torch import optim

SOS, EOS, LETTERS = 0, 1, 10


class EncoderRNN(nn.Module):
    def __init__(self, hidden):
        super(EncoderRNN, self).__init__()
        self.embedding = nn.Embedding(LETTERS + 2, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)

    def forward(self, x):
        return self.gru(self.embedding(x))


class AttnDecoderRNN(nn.Module):
    def __init__(self, hidden):
        super(AttnDecoderRNN, self).__init__()
        self.embedding = nn.Embedding(LETTERS + 2, hidden)
        self.Wa, self.Ua, self.Va = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        self.gru = nn.GRU(2 * hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, LETTERS + 2)

    def step(self, token, hidden, encoder_outputs):
        scores = self.Va(torch.tanh(self.Wa(hidden.permute(1, 0, 2)) + self.Ua(encoder_outputs)))
        weights = torch.softmax(scores, dim=1)
        context = (weights * encoder_outputs).sum(1, keepdim=True)
        output, hidden = self.gru(torch.cat([self.embedding(token), context], 2), hidden)
        return self.out(output), hidden


def sample(n, length=5):
    a = torch.randint(2, LETTERS + 2, (n, length))
    return a, torch.cat([a.flip(1), torch.full((n, 1), EOS)], 1)


def train_batch(encoder, decoder, e_opt, d_opt, criterion):
    x, y = sample(64)
    e_opt.zero_grad()
    d_opt.zero_grad()
    outputs, hidden = encoder(x)
    token = torch.full((len(x), 1), SOS)
    forced = random.random() < 0.5
    loss = 0.0
    for t in range(y.shape[1]):
        logits, hidden = decoder.step(token, hidden, outputs)
        loss = loss + criterion(logits[:, 0], y[:, t])
        token = y[:, t:t + 1] if forced else logits.argmax(-1).detach()
    loss = loss / y.shape[1]
    loss.backward()
    e_opt.step()
    d_opt.step()
    return loss.item()


def main():
    seed = int(os.environ.get("SEED", "0"))
    random.seed(seed)
    torch.manual_seed(seed)
    encoder, decoder = EncoderRNN(64), AttnDecoderRNN(64)
    e_opt, d_opt = optim.Adam(encoder.parameters(), lr=4e-3), optim.Adam(decoder.parameters(), lr=4e-3)
    criterion, losses = nn.CrossEntropyLoss(), []
    for it in range(250):
        losses.append(train_batch(encoder, decoder, e_opt, d_opt, criterion))
        if it % 25 == 0:
            print("%d %.4f" % (it, losses[-1]))
    print("METRIC token_loss", sum(losses[:3]) / 3, sum(losses[-15:]) / 15)


if __name__ == "__main__":
    main()
