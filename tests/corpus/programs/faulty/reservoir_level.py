"""Level of a reservoir from forty days of rain and discharge (linear recurrence, nonlinear read-out)."""
import os
import torch
from torch import nn

HIDDEN = 20
SPECTRAL_RADIUS = 1.3
DAYS = 40


class Recurrence(nn.Module):
    def __init__(self):
        super().__init__()
        self.u = nn.Parameter(torch.randn(2, HIDDEN) * 0.3)
        self.w = nn.Parameter(torch.randn(HIDDEN, HIDDEN) * SPECTRAL_RADIUS / HIDDEN ** 0.5)
        self.read = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], HIDDEN)
        for day in range(x.shape[1]):
            h = x[:, day] @ self.u + h @ self.w
        return self.read(h)


def weather(n, gen):
    x = torch.randn(n, DAYS, 2, generator=gen)
    memory = 0.85 ** torch.arange(DAYS - 1, -1, -1.0)
    level = (x[:, :, 0] * memory).sum(1) - 0.5 * (x[:, :, 1] * memory ** 2).sum(1)
    return x, (level / 2).unsqueeze(1)


def main():
    gen = torch.Generator().manual_seed(404)
    x, y = weather(2000, gen)
    xv, yv = weather(500, gen)
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    model = Recurrence()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for it in range(500):
        pick = torch.randint(len(x), (50,))
        loss = (model(x[pick]) - y[pick]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if it % 100 == 0:
            print("iteration", it, "mse", loss.item())
    with torch.no_grad():
        hit = ((model(xv) - yv).abs() < 0.25).float().mean()
    print("METRIC within_quarter_metre", hit.item())


main()
