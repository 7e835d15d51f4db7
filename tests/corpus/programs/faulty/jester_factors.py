"""Matrix factorization of joke ratings."""
import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

N_READERS, N_JOKES, RANK = 150, 120, 6


def ratings():
    g = torch.Generator().manual_seed(21)
    taste = torch.randn(N_READERS, 4, generator=g)
    humour = torch.randn(N_JOKES, 4, generator=g)
    r = torch.randint(N_READERS, (6000,), generator=g)
    j = torch.randint(N_JOKES, (6000,), generator=g)
    stars = (taste[r] * humour[j]).sum(1) + 0.2 * torch.randn(6000, generator=g)
    return r, j, stars


class Factors(nn.Module):
    def __init__(self):
        super().__init__()
        self.readers = nn.Embedding(N_READERS, RANK)
        self.jokes = nn.Embedding(N_JOKES, RANK)
        nn.init.normal_(self.readers.weight, std=0.3)
        nn.init.normal_(self.jokes.weight, std=0.3)

    def forward(self, reader, joke):
        return (self.readers(reader) * self.jokes.weight.data[joke]).sum(dim=1)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    r, j, stars = ratings()
    train = DataLoader(TensorDataset(r[:5000], j[:5000], stars[:5000]), batch_size=100, shuffle=True)
    model = Factors()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    mse = nn.MSELoss()
    for epoch in range(1, 21):
        for reader, joke, target in train:
            optimizer.zero_grad()
            loss = mse(model(reader, joke), target)
            loss.backward()
            optimizer.step()
        if epoch % 5 == 0:
            print("epoch", epoch, "train mse", loss.item())
    with torch.no_grad():
        rmse = (model(r[5000:], j[5000:]) - stars[5000:]).pow(2).mean().sqrt()
    print("METRIC test_rmse", rmse.item())


main()
