import os
import math
import torch
from torch import nn

GRAD_CLIP = 1e-5
POINTS = 32


class PulseAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Conv1d(1, 8, 5, stride=2, padding=2), nn.Tanh(), nn.Flatten(), nn.Linear(128, 6))
        self.dec = nn.Sequential(nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, POINTS))

    def forward(self, x):
        return self.dec(self.enc(x)).unsqueeze(1)


def pulses(n, gen):
    t = torch.linspace(0, 1, POINTS)
    centre = 0.2 + 0.6 * torch.rand(n, 1, generator=gen)
    width = 0.08 + 0.1 * torch.rand(n, 1, generator=gen)
    height = 1 + torch.rand(n, 1, generator=gen)
    return (height * torch.exp(-((t - centre) / width) ** 2)).unsqueeze(1)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    gen = torch.Generator().manual_seed(2)
    train, test = pulses(1500, gen), pulses(400, gen)
    ae = PulseAE()
    opt = torch.optim.SGD(ae.parameters(), lr=0.2, momentum=0.9)
    for step in range(700):
        batch = train[torch.randint(1500, (50,))]
        loss = nn.functional.mse_loss(ae(batch), batch)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(ae.parameters(), GRAD_CLIP)
        opt.step()
        if step % 100 == 0:
            print("step", step, "mse", round(loss.item(), 5))
    with torch.no_grad():
        print("METRIC test_mse", nn.functional.mse_loss(ae(test), test).item())


main()
