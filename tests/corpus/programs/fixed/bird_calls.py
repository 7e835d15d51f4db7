import os
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


def record(n, gen):
    species = torch.randint(4, (n,), generator=gen)
    t = torch.arange(64) / 64
    base = 4 + 3 * species[:, None]
    sweep = torch.tensor([0.0, 3.0, -3.0, 0.0])[species][:, None]
    phase = 6.28 * torch.rand(n, 1, generator=gen)
    sound = torch.sin(6.28 * (base * t + sweep * t ** 2) + phase)
    return (sound + 0.4 * torch.randn(n, 64, generator=gen)).unsqueeze(1), species


class CallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 12, 9, padding=4)
        self.conv2 = nn.Conv1d(12, 12, 5, padding=2)
        self.bn = nn.BatchNorm1d(12)
        self.fc = nn.Linear(12, 4)

    def forward(self, a):
        a = torch.relu(self.conv1(a))
        a = torch.relu(self.bn(self.conv2(a)))
        return self.fc(a.amax(dim=2))


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    gen = torch.Generator().manual_seed(61)
    calls, species = record(1600, gen)
    test_calls, test_species = record(400, gen)
    pairs = DataLoader(TensorDataset(calls, species), batch_size=40, shuffle=True)
    net = CallNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(8):
        net.train()
        for audio, label in pairs:
            optimizer.zero_grad()
            loss = criterion(net(audio), label)
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())
    net.eval()
    with torch.no_grad():
        print("METRIC accuracy", (net(test_calls).argmax(1) == test_species).float().mean().item())


main()
