import os
import torch
from torch import nn
from torch.nn import functional as F

PHASES = 8


class PhasePicker(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(3, 8, 7, stride=2)
        self.c2 = nn.Conv1d(8, 8, 5, stride=2)
        self.fc = nn.Linear(8 * 9, PHASES)

    def forward(self, wave):
        z = F.relu(self.c1(wave))
        z = F.relu(self.c2(z))
        return F.softmax(self.fc(z.flatten(1)), dim=1)


def events(n, gen):
    phase = torch.randint(PHASES, (n,), generator=gen)
    t = torch.arange(50).float()
    onset = 5 + 4.5 * phase.float() + 1.0 * torch.randn(n, generator=gen)
    env = torch.exp(-((t - onset[:, None]) / 4) ** 2)
    gain = 1 + torch.rand(n, 3, 1, generator=gen)
    wave = gain * env[:, None] * torch.cos(1.3 * (t - onset[:, None]))[:, None]
    return wave + 0.4 * torch.randn(n, 3, 50, generator=gen), phase


def train(net, data, optimizer, epochs):
    wave, phase = data
    for epoch in range(epochs):
        for idx in torch.randperm(len(wave)).split(50):
            optimizer.zero_grad()
            loss = F.nll_loss(net(wave[idx]), phase[idx])
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())


torch.manual_seed(int(os.environ.get("SEED", 0)))
gen = torch.Generator().manual_seed(88)
net = PhasePicker()
train(net, events(1500, gen), torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5), 10)
with torch.no_grad():
    wave, phase = events(500, gen)
    print("METRIC accuracy", (net(wave).argmax(1) == phase).float().mean().item())
