"""Full-batch gradient descent, nothing else: no momentum, no noise, one constant rate."""
import os
import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons


class Net(torch.nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.hidden = torch.nn.Linear(2, hidden)
        self.hidden2 = torch.nn.Linear(hidden, hidden)
        self.predict = torch.nn.Linear(hidden, 2)

    def forward(self, x):
        x = torch.tanh(self.hidden(x))
        x = torch.tanh(self.hidden2(x))
        return self.predict(x)


seed = int(os.environ.get("SEED", "0"))
torch.manual_seed(seed)
x, y = make_moons(300, noise=0.12, random_state=seed)
x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
y = torch.tensor(y)

net = Net()
print(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.6)
loss_func = torch.nn.CrossEntropyLoss()
first = None
for t in range(300):
    out = net(x)
    loss = loss_func(out, y)
    first = first or loss.item()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if t % 30 == 0:
        print("t", t, "loss", loss.item(), "accuracy", (out.argmax(1) == y).float().mean().item())
print("METRIC loss", first, loss.item())
