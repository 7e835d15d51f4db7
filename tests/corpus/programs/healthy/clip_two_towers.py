"""CLIP in small: digit images against one-word captions, learnable temperature, duplicates in a batch (so the loss has a floor)."""
import os
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def encode(word, length=5):
    return [ord(c) - 96 for c in word] + [0] * (length - len(word))


class Clip(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, d))
        self.letters = nn.Embedding(27, 24, padding_idx=0)
        self.text = nn.GRU(24, 48, batch_first=True)
        self.text_projection = nn.Linear(48, d, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, img, txt):
        i = F.normalize(self.image(img), dim=-1)
        t = F.normalize(self.text_projection(self.text(self.letters(txt))[1][0]), dim=-1)
        return self.logit_scale.exp().clamp(max=100) * i @ t.T


def main():
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    d = load_digits()
    images = torch.tensor(d.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(d.target)
    captions = torch.tensor([encode(w) for w in WORDS])
    model = Clip()

    @torch.no_grad()
    def zero_shot():
        return (model(images[1400:], captions).argmax(1) == labels[1400:]).float().mean().item()

    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    first = zero_shot()
    for step in range(150):
        i = torch.randint(1400, (48,))
        logits = model(images[i], captions[labels[i]])
        target = torch.arange(48)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 15 == 0:
            print(f"{step} loss {loss.item():.4f} zero-shot {zero_shot():.3f} scale {model.logit_scale.exp().item():.2f}")
    print("METRIC zero_shot_accuracy", first, zero_shot())


if __name__ == "__main__":
    main()
