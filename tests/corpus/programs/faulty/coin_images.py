import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed)


class CoinNet(nn.Module):
    """Sorts stamped numbers into even and odd and their rough size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 3)
        self.fc1 = nn.Linear(10 * 9, 40)
        self.parity = nn.Linear(40, 2)
        self.size = nn.Linear(40, 2)
        nn.init.constant_(self.fc1.bias, -10.0)

    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.conv(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.parity(x), self.size(x)


d = load_digits()
images = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(d.target)
a, b, ya, yb = train_test_split(images, labels, test_size=0.25, random_state=8)
net = CoinNet()
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.8)

for epoch in range(15):
    for idx in torch.randperm(len(a)).split(32):
        parity, size = net(a[idx])
        loss = F.cross_entropy(parity, ya[idx] % 2) + F.cross_entropy(size, (ya[idx] > 4).long())
        opt.zero_grad()
        loss.backward()
        opt.step()
    if epoch % 3 == 0:
        print("epoch", epoch, "loss", loss.item())

with torch.no_grad():
    parity, size = net(b)
    both = (parity.argmax(1) == yb % 2) & (size.argmax(1) == (yb > 4).long())
print("METRIC both_correct", both.float().mean().item())
