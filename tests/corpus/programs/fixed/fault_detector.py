import os
import torch
from torch import nn
from sklearn.datasets import make_gaussian_quantiles


class Detector(nn.Module):
    def __init__(self, n_in=6, width=32):
        super().__init__()
        self.hidden1 = nn.Linear(n_in, width)
        self.hidden2 = nn.Linear(width, width)
        self.hidden3 = nn.Linear(width, width)
        self.output = nn.Linear(width, 3)
        for layer in (self.hidden1, self.hidden2, self.hidden3):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.hidden1(x).tanh()
        x = self.hidden2(x).tanh()
        x = self.hidden3(x).tanh()
        return self.output(x)


def load():
    x, y = make_gaussian_quantiles(n_samples=2600, n_features=6, n_classes=3, random_state=3)
    return torch.tensor(x).float(), torch.tensor(y)


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    x, y = load()
    net = Detector()
    optimizer = torch.optim.Adagrad(net.parameters(), lr=0.03)
    ce = nn.CrossEntropyLoss()
    for epoch in range(20):
        for idx in torch.randperm(2000).split(50):
            optimizer.zero_grad()
            loss = ce(net(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        if epoch % 4 == 0:
            print("epoch", epoch, "loss", loss.item())
    with torch.no_grad():
        print("METRIC accuracy", (net(x[2000:]).argmax(1) == y[2000:]).float().mean().item())
